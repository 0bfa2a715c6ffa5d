"""Intervals and paired tests, against plain computations."""

from math import comb

import numpy as np
import pytest

from lofit_cli.analysis import statistics
from lofit_cli.analysis.bootstrap import bootstrap_columns
from lofit_cli.analysis.statistics import detectable_difference, holm, summarise


def mean_interval(values, num_resamples, seed):
    folds = {0: np.asarray(values)}
    return statistics.mean_interval(folds, bootstrap_columns([folds], num_resamples, seed)[0])


def compare_paired(values, baseline, num_resamples, seed):
    folds, other = {0: np.asarray(values)}, {0: np.asarray(baseline)}
    (resampled,) = bootstrap_columns([statistics.subtract(folds, other)], num_resamples, seed)
    return statistics.compare_paired(folds, other, resampled)


def test_standard_error_by_hand():
    summary = summarise([0.0, 1.0, 1.0, 0.0])
    assert (summary.mean, summary.num_questions) == (0.5, 4)
    assert summary.standard_error == pytest.approx((1 / 3) ** 0.5 / 2)


def test_mcnemar_by_hand():
    values, baseline = [1.0] * 9 + [0.0] * 3 + [1.0] * 20, [0.0] * 9 + [1.0] * 3 + [1.0] * 20
    paired = compare_paired(values, baseline, num_resamples=1000, seed=0)
    expected = 2 * sum(comb(12, k) for k in range(4)) / 2**12
    assert paired.p_value == pytest.approx(expected)
    assert paired.difference == pytest.approx(6 / 32)
    assert paired.test.startswith("McNemar")


def test_identical_runs_do_not_differ():
    for values in ([1.0, 0.0, 1.0], [0.3, 0.7, 0.5]):
        paired = compare_paired(values, values, num_resamples=200, seed=0)
        assert (paired.difference, paired.p_value) == (0.0, 1.0)


def test_paired_bootstrap_agrees_with_the_normal_approximation():
    rng = np.random.default_rng(0)
    baseline = rng.random(400)
    values = baseline + rng.normal(0.02, 0.2, 400)
    paired = compare_paired(values.tolist(), baseline.tolist(), num_resamples=5000, seed=1)
    error = np.std(values - baseline, ddof=1) / 20
    assert paired.interval.low == pytest.approx(paired.difference - 1.96 * error, abs=0.1 * error)
    assert paired.interval.high == pytest.approx(paired.difference + 1.96 * error, abs=0.1 * error)
    assert paired.p_value > 0.001


def test_pairing_finds_what_unpaired_intervals_hide():
    rng = np.random.default_rng(0)
    baseline = rng.random(200)
    values = np.clip(baseline + 0.01 + rng.normal(0, 0.01, 200), 0, 1)
    low = mean_interval(values.tolist(), 1000, 0).low
    assert low < baseline.mean()
    assert compare_paired(values.tolist(), baseline.tolist(), 1000, 0).p_value < 0.01


def test_wilson_interval_stays_within_0_and_1():
    interval = mean_interval([1.0] * 10, 1000, 0)
    assert interval.low == pytest.approx(0.7225, abs=1e-3)
    assert interval.high == pytest.approx(1.0)


def test_the_same_seed_gives_the_same_interval():
    values = list(np.random.default_rng(3).random(50))
    assert mean_interval(values, 500, 7) == mean_interval(values, 500, 7)


def test_holm_by_hand():
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_keeps_the_order_and_lies_between_raw_and_bonferroni():
    raw = np.random.default_rng(0).random(20).tolist()
    adjusted = holm(raw)
    assert np.argsort(raw, stable=True).tolist() == sorted(range(20), key=lambda i: (adjusted[i], raw[i]))
    assert all(p <= q <= min(1, 20 * p) for p, q in zip(raw, adjusted, strict=True))


def test_a_detectable_difference_is_found_four_times_in_five():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.3, (2000, 100))
    effect = detectable_difference(rng.normal(0, 0.3, 100_000)) * (100_000 / 100) ** 0.5
    samples = noise + effect
    errors = samples.std(axis=1, ddof=1) / 10
    assert np.mean(samples.mean(axis=1) > 1.984 * errors) == pytest.approx(0.8, abs=0.03)
