"""Which runs a comparison takes, and which of them share a row of its tables."""

import csv
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from stage_runs import FAST, manifest, ok, only_run


def test_swapped_questions_are_a_table_of_their_own(lofit):
    ok(lofit("train-offsets", "method=red", *FAST))
    ok(lofit("evaluate", "-m", "intervention=none,latest", "task.swap_questions=[],[test]"))
    ok(lofit("compare"))
    with (only_run("compare") / "comparison.csv").open() as file:
        rows = sorted((row["protocol"], row["method"]) for row in csv.DictReader(file))
    swapped = "iti, questions swapped"
    assert rows == [("iti", "none"), ("iti", "red"), (swapped, "none"), (swapped, "red")]
    tables = [pq.read_table(f) for f in sorted(Path("runs/evaluate").glob("*/predictions.parquet"))]
    own, swapped = (table.to_pydict() for table in tables[:2])
    assert (own["answers"], sorted(own["question"])) == (swapped["answers"], sorted(swapped["question"]))
    assert own["log_probs"] != swapped["log_probs"]


def test_training_on_swapped_questions_is_a_row_of_its_own(lofit):
    ok(lofit("train-offsets", "-m", "method=red", "task.swap_questions=[],[train]", *FAST))
    for run_dir in sorted(Path("runs/train_offsets").iterdir()):
        if (run_dir / "manifest.json").exists():
            ok(lofit("evaluate", f"intervention={run_dir}"))
    assert "task.swap_questions" in ok(lofit("compare")).stdout.replace("\n", "")


def test_compare_takes_the_evaluations_that_a_glob_matches(lofit):
    ok(lofit("select-heads", "selector=random", "hydra.run.dir=runs/mine/heads"))
    ok(lofit("evaluate", "intervention=none", "hydra.run.dir=runs/mine/none"))
    Path("runs/mine/unfinished").mkdir()
    ok(lofit("compare", "runs=[runs/mine/*]"))
    assert manifest(only_run("compare"))["runs"] == ["runs/mine/none"]


def test_compare_tells_models_apart(lofit, model_dir):
    ok(lofit("evaluate", "intervention=none", "hydra.run.dir=runs/evaluate/a"))
    ok(lofit("evaluate", "intervention=none", "model.dtype=float16", "hydra.run.dir=runs/evaluate/b"))
    ok(lofit("compare"))
    rows = list(csv.DictReader((only_run("compare") / "comparison.csv").open()))
    assert [(row["model"], row["dtype"], row["method"]) for row in rows] == [
        (str(model_dir), "float32", "none"),
        (str(model_dir), "float16", "none"),
    ]
    assert "(float16)" in (only_run("compare") / "comparison.md").read_text()


def test_a_reader_that_goes_away_does_not_stop_the_comparison(lofit):
    ok(lofit("evaluate", "intervention=none"))
    command = f"{sys.executable} -m lofit_cli.cli compare hydra.run.dir=runs/x | true; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert result.stdout == "0\n", result.stderr
    assert manifest("runs/x")["status"] == "finished"
    assert Path("runs/x/comparison.csv").exists()


def test_seeds_share_a_row_and_other_settings_do_not(lofit):
    ok(lofit("select-heads", "-m", "num_heads=2", "seed=1,2", *FAST))
    ok(lofit("train-offsets", "-m", "seed=1,2", *FAST))
    ok(lofit("train-offsets", "-m", "seed=1,2", "trainer.learning_rate=0.5", *FAST))
    runs = sorted(Path("runs/train_offsets").glob("*/manifest.json"))
    for file in runs:
        facts = manifest(file.parent)
        ok(lofit("evaluate", f"intervention={file.parent}", f"seed={facts['seed']}"))
    ok(lofit("evaluate", "intervention=none"))
    ok(lofit("compare"))
    with (only_run("compare") / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    assert sorted(row["seeds"] for row in rows if row["method"] == "lofit") == ["1; 2", "1; 2"]
    labels = [row["row"] for row in rows if row["method"] == "lofit"]
    assert sorted("trainer.learning_rate=0.5" in label for label in labels) == [False, True]


@pytest.mark.parametrize("method", ["red", "icl", "caa", "full"])
def test_a_method_without_heads_is_compared_like_any_other(lofit, method):
    few = ("method.num_examples=2",) if method == "icl" else ()
    ok(lofit("train-offsets", f"method={method}", *few, *FAST))
    ok(lofit("evaluate", "-m", "intervention=none,latest"))
    ok(lofit("compare"))
    with (only_run("compare") / "comparison.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"none", method}
    facts = manifest(only_run("train_offsets"))
    assert int(rows[method]["num_trained_parameters"]) == facts["num_trained_parameters"]
    assert facts["wall_seconds"] > 0
    assert facts["peak_memory_bytes"] > 0


def test_rows_know_the_seeds_of_training_and_of_the_heads(lofit):
    for heads in (1, 2):
        ok(lofit("select-heads", "selector=random", f"seed={heads}", f"hydra.run.dir=runs/heads{heads}"))
        ok(lofit("train-offsets", f"head_mask=runs/heads{heads}", *FAST, f"hydra.run.dir=runs/offsets{heads}"))
        # The seed of the evaluation draws nothing.
        ok(lofit("evaluate", f"intervention=runs/offsets{heads}", f"seed={heads + 5}"))
    ok(lofit("compare"))
    with (only_run("compare") / "comparison.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["seeds"] == "42 (heads 1); 42 (heads 2)"


def test_heads_from_different_lists_are_different_rows(lofit):
    for name, heads in (("a", "[[0, 1]]"), ("b", "[[2, 3]]")):
        Path(name).mkdir()
        Path(name, "heads.json").write_text(heads)
        ok(lofit("train-offsets", f"head_mask={name}/heads.json", *FAST, f"hydra.run.dir=runs/{name}"))
        ok(lofit("evaluate", f"intervention=runs/{name}"))
    ok(lofit("compare"))
    with (only_run("compare") / "comparison.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2
