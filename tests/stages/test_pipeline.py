"""The four stages, run through the command line on a tiny model."""

import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from lofit_data import write_truthfulqa
from safetensors.torch import load_file
from stage_runs import FAST, lines, manifest, ok, only_run

from lofit_cli.artifacts.run_dir import start_run
from lofit_cli.schema.stages import CompareConfig


@pytest.fixture
def pipeline(lofit):
    """All four stages with `latest`, each having one run directory."""
    ok(lofit("select-heads", "num_heads=3", *FAST))
    ok(lofit("train-offsets", *FAST))
    ok(lofit("evaluate", "-m", "intervention=none,latest"))
    return ok(lofit("compare"))


def test_the_four_stages_leave_their_artifacts(pipeline):
    assert {
        "head_mask.safetensors",
        "head_mask.json",
        "scale.safetensors",
        "history.jsonl",
        "validation.jsonl",
        "head_scores.png",
        "heads_per_layer.png",
        "training.png",
        "manifest.json",
        ".hydra",
    } <= {file.name for file in only_run("select_heads").iterdir()}
    assert (only_run("train_offsets") / "intervention.safetensors").exists()
    assert len(list(Path("runs/evaluate").glob("*/predictions.parquet"))) == 2
    assert {"comparison.csv", "comparison.md", "comparison.png"} <= {f.name for f in only_run("compare").iterdir()}
    assert not list(Path("runs").rglob("*.partial"))
    assert "lofit (3" in pipeline.output


def test_the_manifest_says_what_ran(pipeline):
    facts = manifest(only_run("train_offsets"))
    assert facts["status"] == "finished"
    assert (facts["task"], facts["fold"], facts["seed"], facts["method"]) == ("truthfulqa", 0, 42, "lofit")
    assert facts["num_trained_parameters"] == 3 * 8
    assert facts["versions"]["torch"]
    assert len(facts["dataset_hash"]) == len(facts["model_hash"]) == len(facts["config_hash"]) == 64
    assert facts["peak_memory_bytes"] > 0


def test_history_has_a_line_a_step_and_the_rate_falls_to_zero(pipeline):
    steps = lines(only_run("train_offsets") / "history.jsonl")
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    rates = [line["learning_rate"] for line in steps]
    assert rates == pytest.approx([1e-2 * (1 - i / 4) for i in range(4)])
    assert [line["epoch"] for line in lines(only_run("train_offsets") / "validation.jsonl")] == [1, 2]


def test_offsets_have_moved_on_each_kept_head(pipeline):
    tensors = load_file(only_run("train_offsets") / "intervention.safetensors")
    mask, offset = tensors["head_mask"], tensors["offset"]
    assert mask.sum() == 3
    assert offset.shape == (3, 8)
    assert (offset.abs() > 5e-3).all(dim=-1).any()


def test_predictions_hold_a_row_a_question_that_gives_the_metrics(pipeline):
    for run_dir in Path("runs/evaluate").iterdir():
        if not (run_dir / "manifest.json").exists():
            continue
        rows = pq.read_table(run_dir / "predictions.parquet").to_pylist()
        metrics = json.loads((run_dir / "metrics.json").read_text())
        assert len(rows) == 8 == metrics["mc1"]["num_questions"]
        assert sum(row["mc2"] for row in rows) / 8 == pytest.approx(metrics["mc2"]["mean"])
        assert all(len(row["log_probs"]) == len(row["answers"]) == len(row["correct"]) == 4 for row in rows)
        assert all(row["correct"] == [True, True, False, False] for row in rows)


def test_training_lowers_the_loss_on_what_it_trains_on(lofit):
    ok(lofit("select-heads", "num_heads=6", "trainer.num_epochs=20", "trainer.l1=0", "trainer.batch_size=6"))
    losses = [line["task_loss"] for line in lines(only_run("select_heads") / "history.jsonl")]
    assert losses[0] == pytest.approx(0.693, abs=0.02)
    assert losses[-1] < 0.9 * losses[0]


def test_same_config_gives_the_same_bits(lofit):
    for name in ("a", "b"):
        ok(lofit("select-heads", "num_heads=3", *FAST, f"hydra.run.dir=runs/{name}"))
        ok(lofit("train-offsets", f"head_mask=runs/{name}", *FAST, f"hydra.run.dir=runs/{name}2"))
    for file in ("{}/head_mask.safetensors", "{}/scale.safetensors", "{}2/intervention.safetensors"):
        first, second = (Path("runs", file.format(name)).read_bytes() for name in ("a", "b"))
        assert first == second, file


def test_another_seed_gives_other_heads(lofit):
    ok(lofit("select-heads", "-m", "selector=random", "num_heads=6", "seed=1,2,3"))
    lists = [file.read_text() for file in Path("runs/select_heads").glob("*/head_mask.json")]
    assert len(lists) == len(set(lists)) == 3


def test_latest_takes_the_run_of_the_same_seed(lofit):
    ok(lofit("select-heads", "-m", "selector=random", "seed=1,2"))
    result = ok(lofit("train-offsets", "seed=1", *FAST))
    taken = manifest(only_run("train_offsets"))["head_mask"]
    assert manifest(Path(taken).parent)["seed"] == 1
    assert str(Path(taken).parent) in result.stderr.replace("\n", "")


def test_num_heads_takes_the_best_of_an_earlier_selection(lofit):
    ok(lofit("select-heads", "num_heads=6", *FAST))
    ranked = json.loads((only_run("select_heads") / "head_mask.json").read_text())
    ok(lofit("train-offsets", "num_heads=2", *FAST))
    assert json.loads((only_run("train_offsets") / "head_mask.json").read_text()) == ranked[:2]
    assert [score for _, _, score in ranked] == sorted((score for _, _, score in ranked), reverse=True)


def test_a_json_list_of_heads_is_a_head_mask(lofit):
    Path("heads.json").write_text("[[0, 1], [2, 3]]")
    ok(lofit("train-offsets", "head_mask=heads.json", *FAST))
    mask = load_file(only_run("train_offsets") / "intervention.safetensors")["head_mask"]
    assert mask.nonzero().tolist() == [[0, 1], [2, 3]]


def test_keep_best_keeps_the_epoch_with_the_lowest_validation_loss(lofit):
    # Validation wants the opposite of training, so it gets worse with every epoch.
    opposite = {"best": "The answer is number 1", "incorrect": "The answer number 0 is right; It is number 0"}
    write_truthfulqa(Path("data"), num_questions={"val": 3}, **opposite)
    Path("heads.json").write_text("[[0, 0], [1, 1], [2, 2]]")
    common = ("head_mask=heads.json", "trainer.batch_size=2", "trainer.learning_rate=0.5", "trainer.num_epochs=4")
    for keep in ("last", "best"):
        ok(lofit("train-offsets", *common, f"trainer.keep={keep}", f"hydra.run.dir=runs/train_offsets/{keep}"))
    losses = [line["loss"] for line in lines("runs/train_offsets/best/validation.jsonl")]
    assert min(losses) < losses[-1]
    files = [f"runs/train_offsets/{keep}/intervention.safetensors" for keep in ("last", "best")]
    norms = [load_file(file)["offset"].norm() for file in files]
    assert norms[1] < norms[0]


def test_all_listed_answers_can_be_trained_on(lofit):
    ok(lofit("select-heads", "task.train_answers=all", "num_heads=3", *FAST))
    assert lines(only_run("select_heads") / "history.jsonl")[0]["loss"] > 0


def test_a_directory_of_another_run_is_refused_and_an_unfinished_one_is_started_anew(lofit):
    common = ("select-heads", "num_heads=3", *FAST, "hydra.run.dir=runs/x")
    Path("runs/x").mkdir(parents=True)
    Path("runs/x/history.jsonl").write_text('{"step": 1}\n')
    ok(lofit(*common))
    assert len(lines("runs/x/history.jsonl")) == 4
    refused = lofit(*common, "seed=2")
    assert refused.exit_code == 2
    assert "already holds a finished run" in refused.stderr


def test_another_protocol_gives_other_scores(lofit):
    ok(lofit("evaluate", "-m", "intervention=none", "eval.protocol=iti,lm_eval"))
    scores = [pq.read_table(f)["log_probs"].to_pylist() for f in Path("runs/evaluate").glob("*/predictions.parquet")]
    assert scores[0] != scores[1]


@pytest.mark.skipif(sys.platform != "linux", reason="peaks can be started anew on Linux only")
def test_each_run_of_a_sweep_has_its_own_peak_memory(tmp_path):
    for name, size in {"large": 400, "small": 1}.items():
        with start_run(tmp_path / name, "compare", CompareConfig()):
            bytearray(size * 2**20)
    assert manifest(tmp_path / "large")["peak_memory_bytes"] - manifest(tmp_path / "small")["peak_memory_bytes"] > 2**28


def test_brackets_in_a_path_are_shown_as_they_are(lofit):
    result = ok(lofit("select-heads", "selector=random", "hydra.run.dir='runs/a [b] [/c]'"))
    assert "run directory: runs/a [b] [/c]" in result.stderr


def test_copied_heads_are_the_latest_selection_and_keep_their_own_seed(lofit):
    ok(lofit("select-heads", "selector=random", "seed=1", "hydra.run.dir=runs/heads"))
    ok(lofit("select-heads", "selector=from_run", "selector.source=runs/heads"))
    ok(lofit("train-offsets", *FAST))
    facts = manifest(only_run("train_offsets"))
    assert (facts["seed"], facts["selection_seed"]) == (42, 1)
