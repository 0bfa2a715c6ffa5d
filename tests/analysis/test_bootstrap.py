"""The bootstrap of all columns at once, against one column and one draw at a time."""

import numpy as np
import pytest
from scipy.stats import bootstrap

from lofit_cli.analysis import bootstrap as module
from lofit_cli.analysis.bootstrap import BATCH, DECIMALS, bootstrap_columns


def plain_means(column, num_resamples, seed):
    """Draw questions of each fold and average them, one resample after another."""
    sums, count = [0.0] * num_resamples, sum(map(len, column.values()))
    for fold, values in column.items():
        rng = np.random.default_rng([seed, fold])
        row = 0
        for start in range(0, num_resamples, BATCH):
            for drawn in rng.integers(0, len(values), (min(BATCH, num_resamples - start), len(values))):
                sums[row] += sum(values[i] for i in drawn)
                row += 1
    return [round(total / count, DECIMALS) for total in sums]


def columns(num_columns, seed=0):
    rng = np.random.default_rng(seed)
    both = [{0: rng.normal(0.05, 1, 30), 1: rng.normal(0, 1, 20)} for _ in range(num_columns)]
    return [*both, {1: rng.normal(0, 1, 20)}, {0: rng.integers(-1, 2, 30) / 3}]


def test_all_at_once_is_one_by_one():
    found = bootstrap_columns(columns(3), 1500, 7)
    for column, resampled in zip(columns(3), found, strict=True):
        means = plain_means(column, 1500, 7)
        low, high = np.percentile(means, [2.5, 97.5])
        assert (resampled.num_at_most_0, resampled.num_at_least_0) == (
            sum(mean <= 0 for mean in means),
            sum(mean >= 0 for mean in means),
        )
        assert (resampled.interval.low, resampled.interval.high) == pytest.approx((low, high), abs=1e-11)


def test_one_fold_is_scipys_bootstrap():
    values = np.random.default_rng(0).random(50)
    rng = np.random.default_rng(42)
    theirs = bootstrap((values,), np.mean, n_resamples=2500, method="percentile", batch=1000, rng=rng)
    (ours,) = bootstrap_columns([{0: values}], 2500, 42)
    assert (ours.interval.low, ours.interval.high) == pytest.approx(tuple(theirs.confidence_interval), abs=1e-11)


def test_few_columns_at_a_time_give_the_same(monkeypatch):
    whole = bootstrap_columns(columns(3), 200, 1)
    monkeypatch.setattr(module, "MAX_CELLS", 400)
    assert bootstrap_columns(columns(3), 200, 1) == whole


def test_a_column_does_not_depend_on_its_neighbours():
    alone = [bootstrap_columns([column], 300, 5)[0] for column in columns(2)]
    together = bootstrap_columns(columns(2), 300, 5)
    for one, other in zip(alone, together, strict=True):
        assert one.num_at_most_0 == other.num_at_most_0
        assert one.interval.low == pytest.approx(other.interval.low, abs=1e-11)


def test_folds_are_drawn_within_themselves():
    # All the spread is between the folds, so a draw that keeps their sizes has none.
    (found,) = bootstrap_columns([{0: np.zeros(10), 1: np.ones(10)}], 500, 0)
    assert (found.interval.low, found.interval.high) == (0.5, 0.5)


def test_draws_are_made_as_often_as_chance_says():
    counts = np.concatenate([*module.draw_counts(20, 3000, 0, 1)])
    assert counts.shape == (3000, 20)
    assert (counts.sum(axis=1) == 20).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(20), abs=0.1)
    assert counts.var(axis=0) == pytest.approx(np.full(20, 1 - 1 / 20), abs=0.12)
