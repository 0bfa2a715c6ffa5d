"""Runs that are killed at any moment are finished by the same command, to the same bytes as without it."""

import json
import random
from pathlib import Path

import pytest
from killing import run_until
from stage_runs import lines, manifest, ok

STAGES = {
    "scale": ("select-heads", "selector=scale", "num_heads=3"),
    "lofit": ("train-offsets", "head_mask=heads.json", "trainer.keep=best"),
    "lora": ("train-offsets", "method=lora", "method.config.lora_dropout=0.5"),
    "full": ("train-offsets", "method=full", "trainer.learning_rate=1e-3"),
    "caa": ("train-offsets", "method=caa"),
    "answers": ("evaluate", "intervention=runs/made", "model.max_row_tokens=64"),
    "texts": ("evaluate", "intervention=none", "task=clutrr", "task.data_dir=sample", "task.max_new_tokens=3"),
}
TRAINED = ("trainer.num_epochs=3", "trainer.batch_size=4", "trainer.checkpoint_every=1")
TIMED = ("manifest.json", "history.jsonl", ".lock")
"""Files that state how long something took, and the lock, which is empty."""


@pytest.fixture
def command(lofit, model_dir):
    """The command line of a stage, and what it is built on."""
    Path("heads.json").write_text("[[0, 1], [2, 3]]")
    ok(lofit("train-offsets", "head_mask=heads.json", *TRAINED, "trainer.learning_rate=1.0", "hydra.run.dir=runs/made"))
    common = ("model=hub", f"model.id={model_dir}", "model.dtype=float32", "task=truthfulqa", "task.data_dir=data")

    def named(name, runs):
        stage, *settings = STAGES[name]
        training = TRAINED if stage != "evaluate" else ()
        return [stage, *common, *training, *settings, f"runs_dir=runs/{runs}", f"hydra.run.dir=runs/{runs}/x"]

    return named


def content(folder):
    """Return every file that must be the same, and what the history says besides its speeds."""
    files = [path for path in folder.rglob("*") if path.is_file() and ".hydra" not in path.parts]
    steps = lines(folder / "history.jsonl") if (folder / "history.jsonl").exists() else []
    history = [{key: value for key, value in step.items() if key != "tokens_per_second"} for step in steps]
    return {path.name: path.read_bytes() for path in files if path.name not in TIMED}, history


def kill_and_finish(command, name, moments):
    """Kill a stage at one moment after another of its runs, then let it end; return its files and how often it died."""
    times = 0
    for moment in moments:
        if run_until(moment, command(name, "killed")) is None:
            times += 1
    run_until(None, command(name, "killed"))
    return content(Path("runs/killed/x")), times


@pytest.mark.parametrize("name", STAGES)
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
@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("seed", range(29))
def test_two_hundred_kills(command, name, seed):
    num_events = run_until(None, command(name, "whole"))
    found, times = kill_and_finish(command, name, [random.Random(f"{name} {seed}").randrange(2, num_events)])
    assert (times, found) == (1, content(Path("runs/whole/x")))
    assert json.loads(Path("runs/killed/x/manifest.json").read_text())["status"] == "finished"
