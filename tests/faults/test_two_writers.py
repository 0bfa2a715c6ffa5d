"""Two processes that want one run directory: one of them writes it, whole, and the other says so or takes it."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from children import end, in_child, invoke, start
from fault_stages import content
from stage_runs import manifest

BUSY = "is being written by another process"


def run_together(*commands):
    """Start commands in processes that wait for each other; return how each ended."""
    read, write = os.pipe()

    def wait_and_run(command):
        os.close(write)
        os.read(read, 1)
        return invoke(command)

    started = [start(wait_and_run, command) for command in commands]
    os.close(write)
    os.close(read)
    return [end(process) for process in started]


def require_whole(place, whole):
    assert content(Path(place)) == whole
    assert manifest(place)["status"] == "finished"
    assert not list(Path(place).parent.rglob("*.partial"))


@pytest.mark.parametrize("name", ["lofit", "answers", "table"])
def test_two_that_start_together_leave_one_whole_run(command, name):
    assert in_child(invoke, command(name, "whole"))[0] == 0
    whole = content(Path("runs/whole/x"))
    for _ in range(2):
        shutil.rmtree("runs/both", ignore_errors=True)
        ended = run_together(command(name, "both"), command(name, "both"))
        # A comparison is never taken: who comes when it is there is refused.
        words = (BUSY, "already holds a finished run") if name == "table" else (BUSY,)
        assert all(code == 0 or (code == 2 and any(word in said for word in words)) for code, said in ended), ended
        assert any(code == 0 for code, _ in ended), ended
        require_whole("runs/both/x", whole)


def test_two_runs_of_the_same_content_at_once_are_both_whole(command):
    assert in_child(invoke, command("answers", "whole"))[0] == 0
    whole = content(Path("runs/whole/x"))
    words = command("answers", "both")[:-1]
    ended = run_together([*words, "hydra.run.dir=runs/both/1"], [*words, "hydra.run.dir=runs/both/2"])
    assert [code for code, _ in ended] == [0, 0], ended
    for place in ("runs/both/1", "runs/both/2"):
        require_whole(place, whole)


def test_one_that_is_killed_while_it_writes_leaves_the_directory_to_the_other(command):
    assert in_child(invoke, command("lofit", "whole"))[0] == 0
    whole = content(Path("runs/whole/x"))
    first = start(invoke, command("lofit", "both"))
    while not list(Path("runs/both").rglob("step-*.safetensors")):
        time.sleep(0.005)
    os.kill(first[0], signal.SIGSTOP)
    code, said = in_child(invoke, command("lofit", "both"))
    assert (code, BUSY in said) == (2, True), said
    os.kill(first[0], signal.SIGKILL)
    assert end(first) is None
    code, said = in_child(invoke, command("lofit", "both"))
    assert (code, "going on after step" in said) == (0, True), said
    require_whole("runs/both/x", whole)


def test_looking_at_runs_while_they_are_made_keeps_nobody_out(command):
    def look_often():
        for _ in range(10):
            assert invoke(["runs", "runs_dir=runs"])[0] == 0

    looking = start(look_often)
    for number in range(3):
        code, said = in_child(invoke, command("table", f"made{number}"))
        assert code == 0, said
    end(looking)
