"""A tracker is told what a run logs, and only where one was asked for."""

import sys
from pathlib import Path

import pytest
from stage_runs import FAST, lines, manifest, ok

TRAIN = ("train-offsets", "method=bitfit", *FAST)


def test_a_tracker_is_told_each_step_and_what_was_measured(lofit):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def told(folder):
        events = EventAccumulator(f"{folder}/tensorboard")
        events.Reload()
        return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}

    ok(lofit(*TRAIN, "tracker=tensorboard", "hydra.run.dir=runs/x"))
    steps = lines("runs/x/history.jsonl")
    found = told("runs/x")
    assert found["history/loss"] == [(line["step"], pytest.approx(line["loss"])) for line in steps]
    assert [step for step, _ in found["validation/loss"]] == [1, 2]
    ok(lofit("evaluate", "intervention=runs/x", "tracker=tensorboard", "hydra.run.dir=runs/y"))
    assert {"metrics/mc1", "metrics/mc2"} <= told("runs/y").keys()
    ok(lofit(*TRAIN, "hydra.run.dir=runs/z"))
    assert manifest("runs/z")["content_key"] == manifest("runs/x")["content_key"]
    assert not Path("runs/z/tensorboard").exists()


def test_a_tracker_that_is_not_there_is_one_sentence(lofit, monkeypatch):
    monkeypatch.setattr("accelerate.tracking._available_trackers", [])
    refused = lofit(*TRAIN, "tracker=wandb")
    assert (refused.exit_code, "tracker=wandb needs a package that is not installed" in refused.stderr) == (2, True)
    refused = lofit(*TRAIN, "tracker=tensorbord")
    assert (refused.exit_code, "did you mean 'tensorboard'?" in refused.stderr) == (2, True)


def test_without_a_tracker_none_is_loaded(lofit, monkeypatch):
    monkeypatch.delitem(sys.modules, "accelerate.tracking", raising=False)
    ok(lofit(*TRAIN))
    assert "accelerate.tracking" not in sys.modules
    assert "tensorboard" not in {Path(path).name for path in Path("runs").rglob("*")}
