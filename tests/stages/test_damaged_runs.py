"""Damaged runs are named and left out of a comparison, whatever is wrong with them, and end in no traceback."""

import csv
import json
import random
from pathlib import Path

import pytest
from manifests import manifest_of, write_manifest
from synthetic_runs import METHODS, write_run
from typer.testing import CliRunner

from lofit_cli.cli import app

MUTATIONS = [None, True, -1, 2.5, "x", "", [], ["a"], {}, {"a": 1}, 10**30]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def compare(*overrides):
    result = CliRunner().invoke(app, ["compare", "num_resamples=100", *overrides], env={"COLUMNS": "200"})
    assert "Traceback" not in result.output + result.stderr
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def two_good_runs():
    write_run(Path("runs/a"), "clutrr", 0, 1, num_questions=20)
    write_run(Path("runs/b"), "clutrr", 0, 1, METHODS[1], num_questions=20)


def test_damaged_runs_are_named_and_the_others_compared():
    two_good_runs()
    for name, changes in {"c": {"fold": "0"}, "d": {"made_by": 3}, "e": {"format": 0}}.items():
        write_run(Path(f"runs/{name}"), "clutrr", 0, 1, num_questions=20, **changes)
    write_run(Path("runs/f"), "clutrr", 0, 2, num_questions=20)
    Path("runs/f/predictions.parquet").write_bytes(b"PAR1")
    write_run(Path("runs/g"), "clutrr", 0, 3, num_questions=1)
    result = compare("runs=[.]", "hydra.run.dir=out")
    assert result.exit_code == 0, result.stderr
    said = " ".join(result.stderr.split())
    for words in (
        "runs/c states fold",
        "runs/d states made_by",
        "runs/e was written by an older version",
        "runs/f/predictions.parquet could not be read",
        "runs/g scored fewer than 2 questions",
    ):
        assert words in said
    assert len(list(csv.DictReader(Path("out/comparison.csv").read_text().splitlines()))) == 2


def test_a_damaged_run_that_is_named_itself_is_refused():
    write_run(Path("runs/c"), "clutrr", 0, 1, num_questions=20, fold="0")
    result = compare("runs=[runs/c]")
    assert result.exit_code == 2
    assert 'runs: the manifest of runs/c states fold as "0"' in result.stderr.replace("\n", " ")


def test_where_all_are_damaged_nothing_is_left():
    write_manifest(Path("runs/c"), "evaluate", stage=["evaluate"])
    Path("runs/d").mkdir()
    Path("runs/d/manifest.json").write_text("")
    result = compare("runs=[runs]")
    assert result.exit_code == 2
    assert "runs: runs holds no finished evaluate run" in result.stderr
    assert result.stderr.count("a run is left out") == 2


def test_any_field_of_a_manifest_may_be_of_any_type():
    two_good_runs()
    fields = list(manifest_of("evaluate"))
    drawn = random.Random(0).sample([(name, value) for name in fields for value in MUTATIONS], 24)
    whole = json.loads(Path("runs/b/manifest.json").read_text())
    for name, value in drawn:
        Path("runs/b/manifest.json").write_text(json.dumps(whole | {name: value}))
        assert compare("runs=[runs]", "hydra.run.dir=out/${now:%f}").exit_code in (0, 2), (name, value)
