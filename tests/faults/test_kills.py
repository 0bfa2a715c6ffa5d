"""Runs that are killed at any moment are finished by the same command, to the same bytes as without it."""

import json
import random
from pathlib import Path

import pytest
from fault_stages import STAGES, content
from killing import run_until
from stage_runs import manifest

KILLED = [name for name in STAGES if name != "table"]


def kill_and_finish(command, name, moments):
    """Kill a stage at one moment after another of its runs, then let it end; return its files and how often it died."""
    times = 0
    for moment in moments:
        if run_until(moment, command(name, "killed")) is None:
            times += 1
    run_until(None, command(name, "killed"))
    return content(Path("runs/killed/x")), times


@pytest.mark.parametrize("name", KILLED)
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bytes(command, name):
    num_events = run_until(None, command(name, "whole"))
    draw = random.Random(name)
    found, times = kill_and_finish(command, name, [draw.randrange(2, num_events) for _ in range(3)])
    assert times >= 1
    assert found == content(Path("runs/whole/x"))
    assert manifest("runs/killed/x")["status"] == "finished"
    assert not list(Path("runs/killed").rglob("*.partial"))
    assert not (Path("runs/killed/x") / "checkpoints").exists()


@pytest.mark.long
@pytest.mark.parametrize("name", KILLED)
@pytest.mark.parametrize("seed", range(29))
def test_two_hundred_kills(command, name, seed):
    num_events = run_until(None, command(name, "whole"))
    found, times = kill_and_finish(command, name, [random.Random(f"{name} {seed}").randrange(2, num_events)])
    assert (times, found) == (1, content(Path("runs/whole/x")))
    assert json.loads(Path("runs/killed/x/manifest.json").read_text())["status"] == "finished"
