"""Pooled rows, against a plain computation of each from the parquet files."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest
from synthetic_runs import METHODS, write_run, write_runs

from lofit_cli.analysis.comparison import compare_section
from lofit_cli.analysis.grouping import group_runs, require_known, require_same_questions, split_sections
from lofit_cli.analysis.pooling import describe_coverage
from lofit_cli.artifacts.evaluations import MeasuredRun, read_evaluation, read_evaluations
from lofit_cli.errors import UserError
from lofit_cli.report.comparison.tables import section_records
from lofit_cli.report.comparison.words import describe_tests

RESAMPLES = 300


def read(folder):
    return read_evaluations([str(folder)])


def section_of(folder, group_by=None):
    evaluations = read(folder)
    groups = group_runs(evaluations, group_by)
    return compare_section(groups, groups[0], RESAMPLES, 3)


def plain_values(folder, name, metric, folds, seeds):
    """Return fold -> each question's mean over seeds, one number at a time."""
    found = {}
    for fold in folds:
        rows = [pq.read_table(folder / f"{name}-{fold}-{seed}/predictions.parquet").to_pylist() for seed in seeds]
        found[fold] = [sum(row[i][metric] for row in rows) / len(rows) for i in range(len(rows[0]))]
    return found


def plain_p_value(differences, seed):
    """Flip signs fold by fold, one question after another."""
    rngs = {fold: np.random.default_rng([seed, fold]) for fold in differences}
    flips = {f: rngs[f].integers(0, 2, (RESAMPLES, len(found)), dtype=np.uint8) for f, found in differences.items()}
    values = [(f, i, d) for f, found in differences.items() for i, d in enumerate(found)]
    totals = [sum(-d if flips[f][row, i] else d for f, i, d in values) for row in range(RESAMPLES)]
    observed = abs(sum(map(sum, differences.values())))
    return (1 + sum(abs(total) >= observed - 1e-9 for total in totals)) / (RESAMPLES + 1)


@pytest.fixture
def pooled(tmp_path):
    for name, method in (("none", METHODS[0]), ("lofit", METHODS[1])):
        for fold in (0, 1):
            for seed in (1, 2):
                write_run(tmp_path / f"{name}-{fold}-{seed}", "truthfulqa", fold, seed, method, num_questions=40 + fold)
    return tmp_path


@pytest.mark.parametrize("metric", ["mc1", "mc2"])
def test_a_pooled_row_by_hand(pooled, metric):
    groups = group_runs(read(pooled), None)
    section = compare_section(groups, groups[1], RESAMPLES, 3)
    base, row = (next(r for r in section.rows if r.label.startswith(name)) for name in ("base", "lofit"))
    assert section.rows[0] is base
    values, other = (plain_values(pooled, name, metric, (0, 1), (1, 2)) for name in ("lofit", "none"))
    differences = {fold: [a - b for a, b in zip(values[fold], other[fold], strict=True)] for fold in values}
    found = row.metrics[metric]
    assert found.mean == pytest.approx(np.mean(values[0] + values[1]), abs=1e-14)
    assert found.paired.difference == pytest.approx(np.mean(differences[0] + differences[1]), abs=1e-14)
    if metric == "mc2":
        assert found.paired.test == "sign flips, p >= 0.003"
        assert found.paired.p_value == pytest.approx(plain_p_value(differences, 3), abs=1e-12)
    assert (found.paired.interval.low <= 0 <= found.paired.interval.high) == (found.paired.p_value > 0.05)
    assert 0 <= found.interval.low < found.mean < found.interval.high <= 1
    by_seed = [plain_values(pooled, "lofit", metric, (0, 1), (seed,)) for seed in (1, 2)]
    assert found.seed_spread == pytest.approx(np.std([np.mean(v[0] + v[1]) for v in by_seed], ddof=1))


def test_one_seed_on_two_folds_keeps_the_exact_tests(tmp_path):
    write_runs(tmp_path, tasks=("clutrr",), seeds=(1,), methods=METHODS[:2], num_questions=60)
    section = section_of(tmp_path)
    first, second = ([read_evaluation(run.path).values["em"] for run in row.runs] for row in section.rows)
    differences = np.concatenate(second) - np.concatenate(first)
    gained, lost = int((differences > 0).sum()), int((differences < 0).sum())
    found = section.rows[1].metrics["em"]
    assert found.paired.test == "McNemar, exact"
    assert found.paired.p_value == binomtest(gained, gained + lost).pvalue
    wilson = binomtest(int(np.concatenate(second).sum()), 120).proportion_ci(method="wilson")
    assert (found.interval.low, found.interval.high) == (wilson.low, wilson.high)
    assert found.seed_spread is None


def test_a_row_with_one_fold_is_paired_on_that_fold(tmp_path):
    for fold in (0, 1):
        write_run(tmp_path / f"a{fold}", "clutrr", fold, 1, num_questions=30)
    write_run(tmp_path / "b", "clutrr", 1, 2, METHODS[1], num_questions=30)
    base, row = section_of(tmp_path).rows
    mine, theirs = (read_evaluation(run.path).values["em"] for run in (row.runs[0], base.runs[1]))
    expected = mine - theirs
    assert (row.folds, row.paired_folds) == ((1,), (1,))
    assert row.metrics["em"].paired.difference == pytest.approx(expected.mean())
    assert describe_coverage(row.runs) == "fold 1 · seed 2"
    assert describe_coverage(base.runs) == "folds 0,1 · seed 1"


def test_a_row_without_a_common_fold_is_shown_and_not_paired(tmp_path):
    write_run(tmp_path / "a", "clutrr", 0, 1, num_questions=30)
    write_run(tmp_path / "b", "clutrr", 1, 1, METHODS[1], num_questions=30)
    _, row = section_of(tmp_path).rows
    assert (row.metrics["em"].paired, row.metrics["em"].adjusted_p, row.is_baseline) == (None, None, False)


def test_categories_add_up(pooled):
    for row in section_of(pooled).rows:
        found = row.metrics["mc2"]
        sizes = [c.num_questions for c in found.categories]
        assert sum(sizes) == 81
        assert np.average([c.mean for c in found.categories], weights=sizes) == pytest.approx(found.mean)
        if found.paired:
            means = [c.difference for c in found.categories]
            assert np.average(means, weights=sizes) == pytest.approx(found.paired.difference)


def test_a_table_keeps_no_question(pooled):
    runs = section_of(pooled).runs
    assert len(runs) == 8
    assert not any(isinstance(run, MeasuredRun) for run in runs)


def test_p_values_are_adjusted_for_the_whole_section(pooled):
    (row,) = (row for row in section_of(pooled).rows if not row.is_baseline)
    raw = sorted(m.paired.p_value for m in row.metrics.values())
    assert min(m.adjusted_p for m in row.metrics.values()) == pytest.approx(min(1.0, 3 * raw[0]))


def test_runs_are_put_in_sections_and_groups(tmp_path):
    assert write_runs(tmp_path, num_questions=5, methods=METHODS[:6]) == 108
    sections = split_sections(read(tmp_path))
    assert [len(section) for section in sections] == [36, 36, 36]
    labels = [group.label for group in group_runs(sections[0], None)]
    assert labels == [
        "base model",
        "lofit (27 scale heads), trainer.learning_rate=0.01",
        "lofit (27 scale heads), trainer.learning_rate=0.005",
        "lofit (27 random heads)",
        "lofit (27 probe heads)",
        "lofit (8 scale heads)",
    ]


def test_named_facts_make_the_groups(tmp_path):
    write_runs(tmp_path, tasks=("clutrr",), num_questions=5, methods=METHODS[:3])
    evaluations = read(tmp_path)
    names = ["method", "trainer.learning_rate", "seed"]
    require_known(names, evaluations)
    groups = group_runs(evaluations, names)
    assert len(groups) == 9
    assert groups[3].label == "lofit, trainer.learning_rate=0.01, seed=1"
    with pytest.raises(UserError, match="group_by: sede is not known; did you mean 'seed'"):
        require_known(["sede"], evaluations)


def test_the_newest_of_two_reruns_is_taken(tmp_path):
    write_run(tmp_path / "a", "clutrr", 0, 1, ended_at="2026-02-02", num_questions=5)
    write_run(tmp_path / "b", "clutrr", 0, 1, ended_at="2026-02-01", num_questions=5)
    (group,) = group_runs(read(tmp_path), None)
    assert [run.path.name for run in group.runs] == ["a"]
    assert [(old.path.name, new.path.name) for old, new in group.reruns] == [("b", "a")]


def test_how_much_there_was_to_train_on_does_not_split_the_untrained(tmp_path):
    for seed, num_train in ((1, None), (2, 50)):
        write_run(tmp_path / f"{seed}", "clutrr", 0, seed, num_train=num_train, num_questions=5)
        write_run(tmp_path / f"l{seed}", "clutrr", 0, seed, METHODS[1], num_train=num_train, num_questions=5)
    labels = [group.label for group in group_runs(read(tmp_path), None)]
    assert labels == ["base model", "lofit (27 scale heads), num_train=null", "lofit (27 scale heads), num_train=50"]


def test_other_questions_in_a_fold_are_refused(tmp_path):
    write_run(tmp_path / "a", "clutrr", 0, 1, num_questions=5)
    write_run(tmp_path / "b", "clutrr", 0, 2, num_questions=6)
    with pytest.raises(UserError, match="scored different questions"):
        require_same_questions(read(tmp_path))


def test_metrics_that_not_all_runs_have_are_named_with_what_to_do(tmp_path):
    write_run(tmp_path / "a", "truthfulqa", 0, 1, num_questions=20, metrics=["mc1", "mc3"])
    write_run(tmp_path / "b", "truthfulqa", 0, 1, METHODS[1], num_questions=20)
    section = section_of(tmp_path)
    assert (section.metrics, section.left_out) == (("mc1", "mc3"), ("mc2",))
    said = describe_tests(section)
    assert said.startswith("Not all runs measured MC2, which is left out: evaluate the others with")
    assert "p: McNemar" in said


def test_nothing_is_said_of_metrics_that_all_runs_have(tmp_path):
    write_runs(tmp_path, tasks=("truthfulqa",), folds=(0,), seeds=(1,), methods=METHODS[:2], num_questions=20)
    section = section_of(tmp_path)
    assert section.left_out == ()
    assert describe_tests(section).startswith("p: ")


def test_a_record_of_runs_that_differ_states_the_settings_of_all(tmp_path):
    for name, method in (("none", METHODS[0]), ("a", METHODS[1]), ("b", METHODS[2])):
        write_run(tmp_path / name, "clutrr", 0, 1 if name != "b" else 2, method, num_questions=20)
    pooled = next(record for record in section_records(section_of(tmp_path, ["method"])) if record["method"] == "lofit")
    assert pooled["made_by"] == '{"trainer.learning_rate": 0.01} {"trainer.learning_rate": 0.005}'
