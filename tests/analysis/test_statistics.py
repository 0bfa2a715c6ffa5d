"""Intervals and paired tests, against plain computations."""

from math import comb

import numpy as np
import pytest

from lofit_cli.analysis import statistics
from lofit_cli.analysis.intervals import Interval, bounded_interval, mean_interval
from lofit_cli.analysis.sign_flips import flip_columns
from lofit_cli.analysis.statistics import detectable_difference, holm, summarise

UNIT, REACH = Interval(0.0, 1.0), Interval(-1.0, 1.0)


def one_fold(values):
    return {0: np.asarray(values, dtype=float)}


def compare_paired(values, baseline, num_flips=1000, seed=0, scale=UNIT):
    folds, other = one_fold(values), one_fold(baseline)
    (flips,) = flip_columns([statistics.subtract(folds, other)], num_flips, seed)
    return statistics.compare_paired(folds, other, flips, scale)


def test_standard_error_by_hand():
    summary = summarise([0.0, 1.0, 1.0, 0.0])
    assert (summary.mean, summary.num_questions) == (0.5, 4)
    assert summary.standard_error == pytest.approx((1 / 3) ** 0.5 / 2)


def test_one_question_has_no_standard_error():
    assert (summarise([0.4]).mean, summarise([0.4]).standard_error) == (0.4, None)


def test_mcnemar_by_hand():
    values, baseline = [1.0] * 9 + [0.0] * 3 + [1.0] * 20, [0.0] * 9 + [1.0] * 3 + [1.0] * 20
    paired = compare_paired(values, baseline)
    expected = 2 * sum(comb(12, k) for k in range(4)) / 2**12
    assert paired.p_value == pytest.approx(expected)
    assert paired.difference == pytest.approx(6 / 32)
    assert paired.test == "McNemar, exact"


def test_identical_runs_do_not_differ():
    for values in ([1.0, 0.0, 1.0], [0.3, 0.7, 0.5]):
        paired = compare_paired(values, values)
        assert (paired.difference, paired.p_value) == (0.0, 1.0)
        assert paired.interval.low < -0.5 < 0.5 < paired.interval.high


def test_runs_that_differ_by_rounding_do_not_differ():
    baseline = np.random.default_rng(0).random(100)
    paired = compare_paired(baseline + 3e-8, baseline)
    assert (paired.difference, paired.p_value) == (0.0, 1.0)


def test_the_paired_interval_agrees_with_the_normal_approximation_where_there_are_many():
    rng = np.random.default_rng(0)
    baseline = rng.random(1500)
    values = baseline + rng.normal(0.03, 0.2, 1500)
    paired = compare_paired(values, baseline, num_flips=5000)
    error = np.std(values - baseline, ddof=1) / 1500**0.5
    assert paired.interval.low == pytest.approx(paired.difference - 1.96 * error, abs=0.1 * error)
    assert paired.interval.high == pytest.approx(paired.difference + 1.96 * error, abs=0.15 * error)
    assert 1 / 5001 <= paired.p_value < 0.001
    assert paired.test == "sign flips, p >= 0.0002"


@pytest.mark.parametrize("size", [2, 3, 5, 6, 8, 13, 25, 60])
@pytest.mark.parametrize("kind", ["right or wrong", "thirds", "real numbers", "few that differ"])
def test_the_interval_never_contradicts_the_test(size, kind):
    rng = np.random.default_rng(size)
    for gain in np.repeat([-0.6, -0.2, 0.0, 0.1, 0.3, 0.8], 5):
        values, baseline = (rng.random(size) * 0.6 + 0.2 + move for move in (gain / 4, -gain / 4))
        if kind == "right or wrong":
            values, baseline = np.round(values), np.round(baseline)
        if kind == "thirds":
            values, baseline = np.round(3 * values) / 3, np.round(3 * baseline) / 3
        if kind == "few that differ":
            values = np.where(rng.random(size) < 0.2, values, baseline)
        paired = compare_paired(values, baseline, num_flips=200)
        assert (paired.interval.low <= 0 <= paired.interval.high) == (paired.p_value > 0.05)
        assert -1 <= paired.interval.low <= paired.difference + 1e-12
        assert paired.difference - 1e-12 <= paired.interval.high <= 1


def test_too_few_questions_reject_no_difference_and_say_so():
    for size in (2, 3, 5):
        paired = compare_paired([0.9] * size, [0.1] * size)
        assert paired.p_value == 2 / 2**size
        assert paired.interval == REACH
        assert paired.detectable == 1
    assert compare_paired([0.9] * 6, [0.1] * 6).p_value == 2 / 2**6


def test_a_metric_from_minus_1_to_1_has_differences_up_to_2():
    assert compare_paired([0.9] * 3, [-0.9] * 3, scale=REACH).interval == Interval(-2.0, 2.0)


def test_differences_that_are_0_or_1_are_no_single_run():
    # Three gains and no loss look like 0/1 values; Wilson's interval, never below 0, would be wrong here.
    paired = compare_paired([1, 1, 1, 0, 0, 0, 0, 0], [0] * 8)
    assert paired.interval.low < 0 < paired.p_value


def test_pairing_finds_what_unpaired_intervals_hide():
    rng = np.random.default_rng(0)
    baseline = rng.random(200)
    values = np.clip(baseline + 0.01 + rng.normal(0, 0.01, 200), 0, 1)
    assert mean_interval(one_fold(values), UNIT).low < baseline.mean()
    assert compare_paired(values, baseline).p_value < 0.01


def test_wilson_interval_stays_within_0_and_1():
    interval = mean_interval(one_fold([1.0] * 10), UNIT)
    assert interval.low == pytest.approx(0.7225, abs=1e-3)
    assert interval.high == pytest.approx(1.0)


def test_the_bounded_interval_by_hand():
    # 0, 0.2, 0.4, 0.6 and 1 have the mean 0.44; spread within the fold is about 0.4. Four degrees of freedom.
    interval = bounded_interval(one_fold([0.2, 0.4, 0.6]), UNIT)
    error = ((0.2**2 + 0.2**2 + 0.44**2 + 0.56**2) / 4 / 5) ** 0.5
    assert (interval.low, interval.high) == pytest.approx((0, 0.44 + 2.776445 * error))


def test_the_bounded_interval_of_losses_and_gains_is_bonett_and_prices_where_there_are_many():
    differences = np.repeat([1.0, -1.0, 0.0], [40, 15, 1500])
    gained, lost, number = 41 / 1557, 16 / 1557, 1557
    error = ((gained + lost - (gained - lost) ** 2) / number) ** 0.5
    interval = bounded_interval(one_fold(differences), REACH)
    assert interval.low == pytest.approx(gained - lost - 1.96 * error, abs=0.005 * error)
    assert interval.high == pytest.approx(gained - lost + 1.96 * error, abs=0.005 * error)


def test_intervals_stay_on_the_scale_and_differ_from_a_point():
    for values, scale in (([0.5] * 2, UNIT), ([0.99, 1.0, 0.98], UNIT), ([-1.0, -0.9], REACH), ([0.3], UNIT)):
        interval = mean_interval(one_fold(values), scale)
        assert scale.low <= interval.low < interval.high <= scale.high


def test_folds_that_differ_in_how_hard_they_are_do_not_widen_an_interval():
    rng = np.random.default_rng(0)
    easy, hard = rng.random(200) * 0.1 + 0.85, rng.random(200) * 0.1
    apart = bounded_interval({0: easy, 1: hard}, UNIT)
    together = bounded_interval(one_fold(np.concatenate([easy, hard])), UNIT)
    assert apart.high - apart.low < 0.2 * (together.high - together.low)


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
    noise = rng.normal(0, 0.1, (400, 400))
    effect = detectable_difference(one_fold(noise[0]), REACH)
    found = flip_columns([one_fold(row + effect) for row in noise], 400, 0)
    # A little more often: two questions at the ends of the scale count in the spread too.
    assert 0.8 < np.mean([each.p_value <= 0.05 for each in found]) < 0.97


def test_no_difference_seen_does_not_mean_that_any_would_be_found():
    assert detectable_difference(one_fold([0.0] * 8), REACH) > 0.3


def test_differences_that_happen_to_be_0_or_1_may_be_below_0_all_the_same():
    differs = Interval(-1, 1)
    found, nearly = (mean_interval(one_fold(np.array([0.0] * 9 + [most])), differs) for most in (1.0, 0.999))
    assert found.low < 0
    assert (found.low, found.high) == pytest.approx((nearly.low, nearly.high), abs=1e-2)
