"""Where a row stands among draws, against plain computations of each number."""

import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.stats import beta, binomtest
from synthetic_runs import METHODS, write_run
from typer.testing import CliRunner

from lofit_cli.analysis.comparison import compare_section
from lofit_cli.analysis.grouping import group_runs
from lofit_cli.analysis.null_distribution import stand_among
from lofit_cli.artifacts.evaluations import read_evaluations
from lofit_cli.cli import app
from lofit_cli.errors import UserError

BASE, SCALE, _, RANDOM, PROBE, OTHER_NUMBER, ITI, *_ = METHODS
SIZE = 40


def write_draws(folder, gains, seed=5):
    """Write draws beside a run: its own questions, worth a random 0 or 1 that is more often 1 with more gain."""
    own = pq.read_table(folder / "predictions.parquet")
    for number, gain in enumerate(gains):
        place = folder / "draws" / f"{number:04d}"
        place.mkdir(parents=True)
        right = np.random.default_rng([seed, number]).random(len(own)) < gain
        table = own.set_column(own.column_names.index("em"), "em", [right.astype(float)])
        pq.write_table(table, place / "predictions.parquet")


def write_all(folder, folds=(0, 1), gains=(0.1, 0.5, 0.9, 0.3)):
    for fold in folds:
        for name, method in {"base": BASE, "scale": SCALE, "random": RANDOM}.items():
            draws = len(gains) if name == "random" else 0
            write_run(folder / f"{name}-{fold}", "clutrr", fold, 1, method, num_questions=SIZE, num_draws=draws)
        write_draws(folder / f"random-{fold}", gains, seed=fold)


def rows_of(folder):
    groups = group_runs(read_evaluations([str(folder)]), None)
    return {row.label: row for row in compare_section(groups, groups[0], 200, 3).rows}


@pytest.mark.parametrize(("worse", "number"), [(0, 16), (1, 16), (9, 16), (16, 16), (3, 5)])
def test_the_interval_is_clopper_and_pearsons(worse, number):
    found = stand_among(0.5, [0.1] * worse + [0.9] * (number - worse), "mc1")
    expected = binomtest(worse, number).proportion_ci(0.95, method="exact")
    assert found.share_below == worse / number
    assert (found.interval.low, found.interval.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(("mean", "metric"), [(0.5, "mc2"), (17.0, "perplexity"), (0.47, "stereotype")])
def test_a_draw_that_differs_by_rounding_is_as_good(mean, metric):
    apart = mean * 1e-8
    found = stand_among(mean, [mean - apart, mean, mean + apart], metric)
    assert found.share_below == 0.5


def test_a_draw_as_good_counts_half():
    found = stand_among(0.5, [0.1, 0.5, 0.5, 0.9], "mc1")
    assert found.share_below == 0.5
    assert found.draws == (0.1, 0.5, 0.5, 0.9)
    assert found.interval.low == pytest.approx(beta.ppf(0.025, 2, 3))


def test_a_rows_own_mean_stands_among_means_over_the_same_folds(tmp_path):
    write_all(tmp_path)
    row = rows_of(tmp_path)["lofit (27 random heads)"].metrics["em"]
    means = []
    for number in range(4):
        files = [tmp_path / f"random-{fold}/draws/{number:04d}/predictions.parquet" for fold in (0, 1)]
        values = [value for file in files for value in pq.read_table(file)["em"].to_pylist()]
        means.append(sum(values) / len(values))
    assert row.standing.draws == pytest.approx(sorted(means))
    assert row.standing.share_below == sum(mean < row.mean for mean in means) / 4


def test_other_selectors_stand_among_the_same_draws_and_the_base_model_does_not(tmp_path):
    write_all(tmp_path)
    rows = rows_of(tmp_path)
    scale, random = (rows[f"lofit (27 {name} heads)"].metrics["em"].standing for name in ("scale", "random"))
    assert scale.draws == random.draws
    assert rows["base model"].metrics["em"].standing is None


@pytest.mark.parametrize(
    "other",
    [
        {"method": OTHER_NUMBER},
        {"method": ITI},
        {"made_by": {"trainer.learning_rate": 0.5}},
        {"num_train": 100},
        {"seed": 2},
    ],
    ids=["another number of heads", "another method", "another rate", "fewer to train on", "another seed"],
)
def test_a_run_that_was_trained_in_another_way_stands_among_nothing(tmp_path, other):
    write_all(tmp_path, folds=(0,))
    facts = {name: value for name, value in other.items() if name not in ("method", "seed")}
    method = other.get("method", PROBE)
    write_run(tmp_path / "other", "clutrr", 0, other.get("seed", 1), method, num_questions=SIZE, **facts)
    other_rows = [row for row in rows_of(tmp_path).values() if "other" in str(row.runs[0].path)]
    assert [row.metrics["em"].standing for row in other_rows] == [None]


def test_settings_of_the_selection_do_not_separate_a_row_from_its_draws(tmp_path):
    write_all(tmp_path, folds=(0,))
    made_by = {**PROBE[3], "selection.selector.name": "probe", "selection.trainer.l1": 0.5}
    write_run(tmp_path / "probe", "clutrr", 0, 1, PROBE, num_questions=SIZE, made_by=made_by)
    assert rows_of(tmp_path)["lofit (27 probe heads)"].metrics["em"].standing


def test_a_fold_without_draws_leaves_the_row_without(tmp_path):
    write_all(tmp_path, folds=(0,))
    for name, method in (("base", BASE), ("scale", SCALE)):
        write_run(tmp_path / f"{name}-1", "clutrr", 1, 1, method, num_questions=SIZE)
    rows = rows_of(tmp_path)
    assert rows["lofit (27 scale heads)"].metrics["em"].standing is None
    assert rows["lofit (27 random heads)"].metrics["em"].standing


@pytest.mark.parametrize("fault", ["one is missing", "other questions"])
def test_draws_that_are_not_what_the_manifest_says_are_refused(tmp_path, fault):
    write_all(tmp_path, folds=(0,))
    file = tmp_path / "random-0/draws/0001/predictions.parquet"
    if fault == "one is missing":
        file.unlink()
    else:
        pq.write_table(pq.read_table(file).slice(1), file)
    with pytest.raises(
        UserError, match="3 of its 4 draws" if fault == "one is missing" else "measured other questions"
    ):
        read_evaluations([str(tmp_path / "random-0")])


def test_compare_says_it_in_a_table_a_picture_and_the_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_all(tmp_path / "runs")
    result = CliRunner().invoke(app, ["compare", "runs=[runs]", "hydra.run.dir=compared", "num_resamples=200"])
    assert result.exit_code == 0, result.stderr
    assert "among random heads" in result.stdout
    assert "among 4 draws" in result.stdout
    with Path("compared/draws.csv").open() as lines:
        records = {(line["row"], line["metric"]): line for line in csv.DictReader(lines)}
    expected = rows_of("runs")["lofit (27 scale heads)"].metrics["em"].standing
    record = records["lofit (27 scale heads)", "em"]
    assert float(record["share_worse"]) == expected.share_below
    assert [float(value) for value in record["draws"].split()] == pytest.approx(expected.draws)
    assert {path.name for path in Path("compared").glob("draws.*")} == {
        f"draws.{e}" for e in ("csv", "md", "tex", "png")
    }
    page = Path("compared/report.html").read_text()
    assert "Among random heads" in page
    assert 'class="draws"' in page


def test_without_draws_nothing_is_said_of_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, method in (("base", BASE), ("scale", SCALE)):
        write_run(tmp_path / "runs" / name, "clutrr", 0, 1, method, num_questions=SIZE)
    result = CliRunner().invoke(app, ["compare", "runs=[runs]", "hydra.run.dir=compared", "num_resamples=200"])
    assert result.exit_code == 0, result.stderr
    assert "random heads" not in result.stdout
    assert not list(Path("compared").glob("draws*"))
