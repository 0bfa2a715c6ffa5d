"""The script that sets learning rates side by side."""

import csv
import importlib.util
import json
from pathlib import Path

import pytest
import typer
from manifests import write_manifest
from typer.testing import CliRunner

FILE = Path(__file__).parents[1] / "scripts" / "reproduce" / "tune.py"
spec = importlib.util.spec_from_file_location("tune", FILE)
tune = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tune)


def finish(folder, method, rate, *mc2, fold=0, **facts):
    config = {"trainer": {"learning_rate": rate}}
    write_manifest(folder, "train_offsets", **{"task": "t", "fold": fold, "method": method, "config": config} | facts)
    # So much more loss at larger rates that its best rate is another than MC2's.
    lines = [json.dumps({"epoch": i, "loss": 50 * rate - value, "mc2": value}) for i, value in enumerate(mc2)]
    if lines:
        (folder / "validation.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture
def runs(tmp_path):
    return [
        finish(tmp_path / "a0", "lora", 1e-3, 0.9, 0.5),
        finish(tmp_path / "a1", "lora", 1e-3, 0.7, fold=1),
        finish(tmp_path / "b", "lora", 1e-2, 0.55),
        finish(tmp_path / "c", "lofit", 1e-2, 0.4, num_heads=27),
        finish(tmp_path / "d", "lofit", 1e-1, 0.99, num_heads=27, status="failed"),
        finish(tmp_path / "e", "iti", 1e-1),
        tmp_path / "nowhere",
    ]


def invoke(*arguments):
    app = typer.Typer()
    app.command()(tune.main)
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.mark.parametrize(
    ("options", "best"),
    [
        ((), ["best", "", r"best\*", "best"]),
        (("--metric", "loss"), ["best", r"best\*", "", "best"]),
    ],
)
def test_the_last_look_counts_and_each_method_has_its_best_in_each_fold(tmp_path, runs, options, best):
    assert invoke(tmp_path / "out", *runs, *options).exit_code == 0
    rows = list(csv.DictReader((tmp_path / "out" / "tune.csv").open()))
    assert [(row["fold"], row["method"], row["learning_rate"], float(row["mc2"])) for row in rows] == [
        ("0", "lofit (27 heads)", "0.01", 0.4),
        ("0", "lora", "0.001", 0.5),
        ("0", "lora", "0.01", 0.55),
        ("1", "lora", "0.001", 0.7),
    ]
    marked = [line.split("|")[-2].strip() for line in (tmp_path / "out" / "tune.md").read_text().splitlines()[4:8]]
    assert marked == best
    listed = (tmp_path / "out" / "best.txt").read_text().splitlines()
    assert sorted(listed) == sorted(row["run"] for row, mark in zip(rows, marked, strict=True) if mark)


def test_what_was_not_measured_is_refused(tmp_path, runs):
    result = invoke(tmp_path / "out", *runs, "--metric", "mc3")
    assert (result.exit_code, "allowed: loss, mc2" in result.stderr) == (2, True)
    assert invoke(tmp_path / "out", tmp_path / "nowhere").exit_code == 1


def test_each_task_has_its_best_by_mc2_where_that_is_measured_and_by_the_loss_elsewhere(tmp_path):
    runs = [finish(tmp_path / f"a{i}", "lora", 10**-i, 0.5 / i) for i in (2, 3)]
    runs += [finish(tmp_path / f"b{i}", "lora", 10**-i, 0.5 / i, task="u") for i in (2, 3)]
    for run in runs[2:]:
        (look,) = map(json.loads, (run / "validation.jsonl").read_text().splitlines())
        (run / "validation.jsonl").write_text(json.dumps({"epoch": 0, "loss": look["loss"]}))
    assert invoke(tmp_path / "out", *runs).exit_code == 0
    assert (tmp_path / "out" / "best.txt").read_text().splitlines() == [str(tmp_path / "a2"), str(tmp_path / "b3")]
    rows = list(csv.DictReader((tmp_path / "out" / "tune.csv").open()))
    assert [row["mc2"] == "" for row in rows] == [False, False, True, True]


def test_of_equal_rates_the_lowest_is_best():
    looks = [{"task": "t", "fold": 0, "method": "lora", "learning_rate": rate, "mc1": 0.5} for rate in (1e-3, 1e-2)]
    assert tune.find_best(looks, "mc1") == looks[:1]
