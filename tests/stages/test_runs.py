"""`lofit runs` lists what was run, however it ended, and removes what is of no use."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from killing import run_until
from stage_runs import FAST, ok

from lofit_cli.analysis.intervals import Interval, mean_interval
from lofit_cli.artifacts.files import write_json
from lofit_cli.artifacts.leftovers import held


@pytest.fixture
def runs(lofit, model_dir):
    """A finished evaluation twice, a failed run, a killed one and a finished training."""
    for name in ("old", "new"):
        ok(lofit("evaluate", "intervention=none", "force=true", f"hydra.run.dir=runs/evaluate/{name}"))
    ok(lofit("train-offsets", *FAST, "method=bitfit", "hydra.run.dir=runs/train_offsets/made"))
    Path("runs/train_offsets/failed").mkdir()
    write_json(Path("runs/train_offsets/failed/manifest.json"), {"status": "failed", "stage": "train_offsets"})
    data = ("task=truthfulqa", "task.data_dir=data", "model=hub", f"model.id={model_dir}", "model.dtype=float32")
    killed = ["train-offsets", *data, "method=full", "trainer.checkpoint_every=1", "hydra.run.dir=runs/train_offsets/x"]
    assert run_until(110, killed) is None

    def listed(*words):
        return {Path(run["path"]).name: run for run in json.loads(ok(lofit("runs", *words, "--json")).stdout)}

    return listed


def test_each_run_is_listed_with_how_it_ended_and_what_it_measured(lofit, runs):
    found = runs()
    states = {"old": "superseded", "new": "finished", "made": "finished", "failed": "failed", "x": "killed"}
    assert {name: run["status"] for name, run in found.items()} == states
    assert (found["x"]["can_go_on"], found["new"]["can_go_on"]) == (True, False)
    values = pq.read_table("runs/evaluate/new/predictions.parquet")["mc1"].to_numpy().astype(float)
    interval = mean_interval({0: values}, Interval(0, 1))
    new = found["new"]
    assert (new["metric"], new["mean"]) == ("mc1", pytest.approx(np.mean(values)))
    assert (new["low"], new["high"]) == pytest.approx((interval.low, interval.high))
    table = " ".join(ok(lofit("runs")).output.split())
    assert "5 runs" in table
    assert "1 of them can go on from where they stopped: the same command again, or lofit train-offsets res" in table


def test_filters_are_words_or_fields(lofit, runs):
    assert runs("status=failed").keys() == {"failed"}
    assert runs("stage=train_offsets", "bitfit").keys() == {"made"}
    assert runs("runs_dir=runs/evaluate").keys() == {"old", "new"}
    refused = lofit("runs", "statsu=failed")
    assert (refused.exit_code, "did you mean 'status'?" in refused.stderr) == (2, True)
    refused = lofit("runs", "runs_dir=nowhere")
    assert (refused.exit_code, "runs_dir=nowhere is not a folder" in refused.stderr) == (2, True)


def test_only_what_is_of_no_use_is_removed_and_only_if_that_is_wanted(lofit, runs):
    assert "Remove 2 failed or superseded runs?" in lofit("runs", "--prune").stderr
    assert len(runs()) == 5
    lofit.typed = "y\n"
    assert "removed 2 run directories" in ok(lofit("runs", "--prune")).stderr
    assert runs().keys() == {"new", "made", "x"}


def test_a_run_that_another_one_is_built_on_is_never_superseded(lofit):
    for name in ("old", "new"):
        ok(lofit("train-offsets", *FAST, "method=bitfit", "force=true", f"hydra.run.dir=runs/train_offsets/{name}"))
    ok(lofit("evaluate", "intervention=runs/train_offsets/old"))
    found = json.loads(ok(lofit("runs", "--json")).stdout)
    assert {run["status"] for run in found} == {"finished"}


@pytest.mark.parametrize("name", ["old", "new"])
def test_a_damaged_run_stands_for_no_other(name, lofit, runs):
    file = Path(f"runs/evaluate/{name}/predictions.parquet")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    lofit.typed = "y\n"
    ok(lofit("runs", "--prune"))
    assert runs().keys() == {"old", "new", "made", "x"} - {name}


def test_a_run_under_way_is_running(lofit, runs):
    with held(Path("runs/train_offsets/x")):
        assert runs()["x"]["status"] == "running"
    assert runs()["x"]["status"] == "killed"


def test_damaged_runs_stand_in_no_others_way(lofit, runs):
    Path("runs/evaluate/new/predictions.parquet").write_text("no")
    Path("runs/train_offsets/made/manifest.json").write_text("[3")
    found = runs()
    assert "metric" not in found["new"]
    assert found["made"]["status"] == "unreadable"
