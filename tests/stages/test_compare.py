"""`lofit compare` on made-up runs: what it takes, prints and writes."""

import csv
import json
import time
from pathlib import Path

import pytest
from synthetic_runs import METHODS, write_run, write_runs
from typer.testing import CliRunner

from lofit_cli.artifacts.evaluations import read_evaluation
from lofit_cli.artifacts.run_dir import start_run
from lofit_cli.cli import app
from lofit_cli.schema.stages import CompareConfig
from lofit_cli.stages.compare import compare


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run_compare(*overrides):
    result = CliRunner().invoke(
        app, ["compare", "hydra.run.dir=out", "num_resamples=200", *overrides], env={"COLUMNS": "80"}
    )
    assert result.exit_code == 0, result.output + result.stderr
    return result


def refused(*overrides):
    result = CliRunner().invoke(app, ["compare", "hydra.run.dir=refused", *overrides])
    assert (result.exit_code, result.stdout) == (2, "")
    return " ".join(result.stderr.split())


def records(name="comparison"):
    return list(csv.DictReader(Path("out", f"{name}.csv").open()))


def test_several_tasks_leave_a_section_each_and_a_summary():
    write_runs(Path("runs"), methods=METHODS[:3], num_questions=20)
    result = run_compare("runs=[runs/*]")
    files = {file.name for file in Path("out").iterdir()}
    figures = {
        f"{kind}-{task}.png" for kind in ("comparison", "categories") for task in ("truthfulqa", "mquake", "clutrr")
    }
    tables = {f"{name}.{form}" for name in ("comparison", "summary") for form in ("csv", "md", "tex")}
    assert figures | tables | {"categories.csv", "report.html"} <= files
    assert len(records()) == 9
    assert [(row["row"], row["is_baseline"]) for row in records()[:2]] == [
        ("base model", "True"),
        ("lofit (27 scale heads), trainer.learning_rate=0.01", "False"),
    ]
    assert {(row["folds"], row["seeds"]) for row in records()} == {("0 1", "1; 2; 42")}
    assert "SD over seeds" in Path("out/comparison.md").read_text()
    assert "truthfulqa MC2" in Path("out/summary.md").read_text()
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert len(json.loads(Path("out/manifest.json").read_text())["sections"]) == 3


def test_the_summary_averages_rows_that_have_all_tasks():
    write_runs(Path("runs"), methods=METHODS[:1], num_questions=20)
    write_run(Path("runs/more"), "clutrr", 0, 1, METHODS[3], num_questions=20)
    run_compare("runs=[runs]")
    none, partial = records("summary")
    columns = ["clutrr EM", "mquake EM", "truthfulqa MC1", "truthfulqa MC2"]
    assert float(none["average"]) == pytest.approx(sum(float(none[column]) for column in columns) / 4)
    assert (partial["row"], partial["average"], partial["mquake EM"]) == ("lofit (27 random heads)", "", "")


def test_the_summary_averages_no_task_twice():
    for protocol in ("iti", "iti, questions swapped"):
        write_run(Path(f"runs/{protocol}"), "truthfulqa", 0, 1, num_questions=20, protocol=protocol)
    run_compare("runs=[runs]")
    (row,) = records("summary")
    assert (row["average"], "truthfulqa-iti, questions swapped MC1" in row) == ("", True)


def test_file_names_of_two_protocols(tmp_path):
    for number, tokens in enumerate((8, 32)):
        write_run(Path(f"runs/{number}"), "clutrr", 0, 1, num_questions=20, protocol=f"zero-shot, {tokens} tokens")
    run_compare("runs=[runs]")
    figures = {file.name for file in Path("out").glob("comparison-*.png")}
    assert figures == {f"comparison-clutrr-zero-shot-{tokens}-tokens.png" for tokens in (8, 32)}


def test_one_task_has_no_summary_and_plain_names():
    write_runs(Path("runs"), tasks=("clutrr",), folds=(0,), seeds=(1,), methods=METHODS[:2], num_questions=20)
    result = run_compare("runs=[runs/clutrr/*]")
    assert {"comparison.png", "categories.png"} <= {file.name for file in Path("out").iterdir()}
    assert not list(Path("out").glob("summary*"))
    assert "smollm2 (float32) on clutrr, fold 0, 20 test questions, zero-shot, 32 tokens" in result.stdout
    assert "01-fold0-seed1" in result.stdout


def test_each_section_has_its_own_baseline_unless_a_run_is_named():
    write_runs(Path("runs"), tasks=("clutrr", "mquake"), seeds=(1,), methods=METHODS[:2], num_questions=20)
    run_compare("runs=[runs]", "baseline=runs/clutrr/01-fold1-seed1")
    baselines = [(row["task"], row["method"]) for row in records() if row["is_baseline"] == "True"]
    assert baselines == [("clutrr", "lofit"), ("mquake", "none")]


def test_without_an_untrained_run_the_first_row_is_the_baseline():
    write_runs(Path("runs"), tasks=("clutrr",), seeds=(1,), methods=METHODS[3:5], num_questions=20)
    run_compare("runs=[runs]")
    assert [row["is_baseline"] for row in records()] == ["True", "False"]


def test_group_by_makes_the_rows():
    write_runs(Path("runs"), tasks=("clutrr",), seeds=(1, 2), methods=METHODS[:2], num_questions=20)
    run_compare("runs=[runs]", "group_by=[method,seed]")
    assert [row["row"] for row in records()] == [
        "base model, seed=1",
        "base model, seed=2",
        "lofit, seed=1",
        "lofit, seed=2",
    ]


def test_runs_with_labels_of_their_own_are_rows_by_these_names():
    for number, label in enumerate((None, "ours", "ours", "theirs")):
        method, fold = METHODS[min(number, 1) + (number == 2)], int(number == 2)
        write_run(Path(f"runs/{number}"), "clutrr", fold, 1, method, num_questions=20, label=label)
    run_compare("runs=[runs]", "group_by=[label]")
    assert [(row["row"], row["folds"]) for row in records()] == [("base model", "0"), ("ours", "0 1"), ("theirs", "0")]
    run_compare("runs=[runs]", "hydra.run.dir=again")
    assert len(Path("again", "comparison.csv").read_text().splitlines()) == 1 + 4


def test_group_by_does_not_take_runs_of_two_kinds_for_repeats():
    write_runs(Path("runs"), tasks=("clutrr",), seeds=(1,), methods=METHODS[1:4], num_questions=20)
    says = refused("runs=[runs]", "group_by=[method,seed]")
    assert "they differ in trainer.learning_rate: add one of these" in says
    assert "runs/clutrr/00-fold0-seed1" in says
    assert "fold 0 and seed 1; they differ in selector: add" in refused(
        "runs=[runs]", "group_by=[trainer.learning_rate]"
    )


def test_a_row_of_runs_made_in_different_ways_is_noted():
    for seed, method in enumerate(METHODS[1:3]):
        write_run(Path(f"runs/{seed}"), "clutrr", 0, seed, method, num_questions=20)
    assert "note: row 'lofit' pools runs that differ in" in run_compare("runs=[runs]", "group_by=[method]").stderr
    assert "pools runs" not in run_compare("runs=[runs]", "group_by=[method,seed]", "hydra.run.dir=again").stderr


def test_a_rerun_and_other_weights_are_said():
    write_run(Path("runs/a"), "clutrr", 0, 1, ended_at="2026-02-02", num_questions=20)
    write_run(Path("runs/b"), "clutrr", 0, 1, ended_at="2026-02-01", num_questions=20)
    write_run(Path("runs/c"), "clutrr", 0, 1, num_questions=20, model_hash="b")
    said = run_compare("runs=[runs/*]").stderr
    assert "note: runs/a repeats runs/b (base model, same fold and seed); taking the newer one" in said
    assert "note: not all runs of model 'smollm2' have the same model_hash; a table for each" in said
    assert [row["model_hash"] for row in records()] == ["a" * 64, "b"]


@pytest.mark.parametrize("apart", [{"trained_fold": 1}, {"source_seed": 7}, {"selection_seed": 7}])
def test_what_was_trained_on_another_fold_or_built_on_another_seed_is_no_repeat(apart):
    write_run(Path("runs/a"), "clutrr", 0, 1, METHODS[1], num_questions=20, gain=0.0, trained_fold=0)
    write_run(Path("runs/b"), "clutrr", 0, 1, METHODS[1], num_questions=20, gain=0.3, **{"trained_fold": 0} | apart)
    assert "repeats" not in run_compare("runs=[runs]").stderr
    pooled, (one, other) = records(), [read_evaluation(Path("runs", name)).values["em"].mean() for name in "ab"]
    assert one != other
    assert [float(row["em"]) for row in pooled] == [pytest.approx((one + other) / 2, abs=1e-9)]


def test_a_run_of_a_task_without_folds_is_one_seed_on_both_folds_of_another():
    for seed in (1, 2):
        for fold in (0, 1):
            folder = Path(f"runs/{seed}-{fold}")
            write_run(folder, "truthfulqa", fold, seed, METHODS[1], num_questions=20, trained_fold=0)
    run_compare("runs=[runs]")
    assert [(row["folds"], row["seeds"], row["mc1_sd_over_seeds"] != "") for row in records()] == [
        ("0 1", "1; 2", True)
    ]


def test_one_model_by_several_names_is_one_table():
    for number, name in enumerate(("./m", "m/", "/abs/m")):
        method = METHODS[number]
        write_run(Path(f"runs/{number}"), "clutrr", 0, 1, method, num_questions=20, model=name)
    run_compare("runs=[runs]")
    assert [row["model"] for row in records()] == ["./m"] * 3
    assert records()[2]["em_p"]


def test_what_is_no_finished_evaluation_is_passed_over():
    write_runs(Path("runs"), tasks=("clutrr",), folds=(0,), seeds=(1,), methods=METHODS[:1], num_questions=20)
    write_run(Path("runs/heads"), "clutrr", 0, 1, METHODS[1], stage="select_heads")
    write_run(Path("runs/broken"), "clutrr", 0, 1, METHODS[1], status="failed")
    run_compare("runs=[runs/**]")
    assert [row["row"] for row in records()] == ["base model"]


def test_the_same_seed_gives_the_same_files():
    write_runs(Path("runs"), tasks=("clutrr",), methods=METHODS[:2], num_questions=20)
    for name in ("a", "b"):
        with start_run(Path(name), "compare", CompareConfig()) as run:
            compare(CompareConfig(runs=["runs"], num_resamples=200), run)
    for file in ("comparison.csv", "comparison.md", "comparison.tex", "categories.csv"):
        assert Path("a", file).read_bytes() == Path("b", file).read_bytes(), file


def test_many_runs_are_compared_soon():
    count = write_runs(Path("runs"), methods=METHODS[:3])
    start = time.perf_counter()
    run_compare("runs=[runs]", "num_resamples=10000")
    assert count == 54
    assert time.perf_counter() - start < 30
