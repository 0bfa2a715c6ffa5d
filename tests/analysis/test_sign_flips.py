"""The sign-flip test and its interval, against scipy, plain enumeration and chance."""

import tracemalloc
from itertools import product

import numpy as np
import pytest
from scipy.stats import binomtest, permutation_test

from lofit_cli.analysis import sign_flips as module
from lofit_cli.analysis.sign_flips import flip_columns

FLIPS = 1000


def flip(differences, num_flips=FLIPS, seed=3):
    return flip_columns([{0: np.asarray(differences, dtype=float)}], num_flips, seed)[0]


def plain_p_value(differences, shift):
    """Flip the signs of the shifted differences in all ways, one after another."""
    moved = [value - shift for value in differences]
    sums = [abs(sum(signed)) for signed in product(*((value, -value) for value in moved))]
    return sum(found >= abs(sum(moved)) - 1e-9 for found in sums) / len(sums)


def small_samples():
    """Samples of few questions: thirds, as means over three seeds are, with ties and zeros; and real numbers."""
    rng = np.random.default_rng(0)
    for size in (1, 2, 3, 5, 6, 7, 8):
        for _ in range(4):
            yield (rng.integers(-3, 4, size) / 3).tolist()
            yield rng.normal(0.3, 1, size).tolist()


@pytest.mark.parametrize("differences", small_samples())
def test_few_questions_give_scipys_exact_p_values(differences):
    found = flip(differences)
    if len(differences) == 1:
        assert found.p_value == 1
        return
    for alternative, mine in (("two-sided", found.p_value), ("less", found.lower_p), ("greater", found.upper_p)):
        # One column of values that only swap their sign: scipy's test for paired samples of x and -x.
        theirs = permutation_test(
            (np.array(differences), -np.array(differences)),
            lambda x, y: np.round(np.mean(x - y), 10),
            permutation_type="samples",
            alternative=alternative,
            n_resamples=2**10,
        )
        assert mine == pytest.approx(theirs.pvalue, abs=1e-12)


@pytest.mark.parametrize("differences", [s for s in small_samples() if 0 not in s])
def test_the_interval_is_what_plain_flips_do_not_reject(differences):
    interval = flip(differences).interval
    for shift in np.linspace(-2, 2, 25):
        inside = interval.low <= shift <= interval.high
        if min(abs(shift - interval.low), abs(shift - interval.high)) > 1e-9:
            assert inside == (plain_p_value(differences, shift) > 0.05)


def test_questions_that_do_not_differ_change_no_p_value_but_the_interval():
    few, many = flip([0.2, 0.1, 0.3, 0.2, -0.1, 0.4, 0.3]), flip([0.2, 0.1, 0.3, 0.2, -0.1, 0.4, 0.3] + [0.0] * 50)
    assert few.p_value == many.p_value == 6 / 2**7
    assert 0 < many.interval.low < few.interval.low
    assert many.interval.high < few.interval.high


def test_equal_steps_are_a_binomial_test_however_many_they_are():
    rng = np.random.default_rng(1)
    for num_gained, num_lost, step in ((3, 1, 1.0), (9, 3, 1 / 3), (40, 22, 1.0), (300, 250, 2 / 3)):
        differences = rng.permutation([step] * num_gained + [-step] * num_lost + [0.0] * 30)
        found = flip(differences)
        assert found.p_value == pytest.approx(binomtest(num_gained, num_gained + num_lost).pvalue, abs=1e-15)
        assert found.floor is None
        assert (found.interval.low <= 0 <= found.interval.high) == (found.p_value > 0.05)


def test_many_questions_are_flipped_at_random_and_the_floor_is_stated():
    rng = np.random.default_rng(0)
    values = rng.normal(0.25, 1, 60)
    found = flip(values, 20_000)
    error = values.std(ddof=1) / 60**0.5
    assert found.floor == 1 / 20_001
    assert found.p_value == pytest.approx(0.2, abs=0.2)
    assert found.interval.low == pytest.approx(values.mean() - 2 * error, abs=0.1 * error)
    assert found.interval.high == pytest.approx(values.mean() + 2 * error, abs=0.1 * error)
    assert flip(np.full(60, 0.1) + rng.normal(0, 0.01, 60)).p_value == 1 / (FLIPS + 1)


def test_random_flips_are_those_of_a_plain_loop():
    rng = np.random.default_rng(5)
    column = {0: rng.normal(0.2, 1, 30), 2: rng.normal(0.2, 1, 25)}
    found = flip_columns([column], 500, 7)[0]
    rngs = {fold: np.random.default_rng([7, fold]) for fold in column}
    chosen = np.hstack([rngs[fold].integers(0, 2, (500, len(v)), dtype=np.uint8) for fold, v in column.items()])
    values = np.concatenate(list(column.values()))
    flipped = [abs(sum(-v if c else v for v, c in zip(values, row, strict=True))) for row in chosen]
    expected = (1 + sum(total >= abs(values.sum()) for total in flipped)) / 501
    assert found.p_value == pytest.approx(expected, abs=1e-12)


def test_folds_are_summed_and_few_questions_of_all_of_them_are_exact():
    whole = [0.3, -0.1, 0.2, 0.4, 0.1, 0.2, 0.5]
    halves = flip_columns([{0: np.array(whole[:3]), 1: np.array(whole[3:])}], FLIPS, 3)[0]
    assert halves == flip(whole)


def columns(num_columns):
    rng = np.random.default_rng(0)
    both = [{0: rng.normal(0.05, 1, 30), 1: rng.normal(0, 1, 24)} for _ in range(num_columns)]
    return [*both, {1: rng.normal(0, 1, 24)}, {0: rng.integers(-1, 2, 30) / 3}, {0: np.eye(30)[0]}]


def test_a_column_does_not_depend_on_its_neighbours(monkeypatch):
    together = flip_columns(columns(3), FLIPS, 5)
    assert [flip_columns([column], FLIPS, 5)[0] for column in columns(3)] == together
    monkeypatch.setattr(module, "MAX_CELLS", 2 * FLIPS)
    assert flip_columns(columns(3), FLIPS, 5) == together
    assert flip_columns(columns(3), FLIPS, 6) != together


def test_flips_drawn_in_many_parts_say_the_same_but_for_chance(monkeypatch):
    whole = flip_columns(columns(2), 20_000, 5)
    monkeypatch.setattr(module, "ROWS", 77)
    monkeypatch.setattr(module, "QUESTIONS", 11)
    for one, other in zip(whole, flip_columns(columns(2), 20_000, 5), strict=True):
        assert one.p_value == pytest.approx(other.p_value, abs=0.02)
        assert one.interval.low == pytest.approx(other.interval.low, abs=0.02)


@pytest.mark.parametrize("size", [2, 3, 5, 8, 12, 50, 108])
def test_at_most_one_test_in_twenty_finds_what_is_not_there(size):
    rng = np.random.default_rng(size)
    # The sizes of the differences are as skewed as ours: most tiny, few large; only their signs are chance.
    large = rng.random((400, size)) < 0.3
    differences = rng.choice([-1, 1], (400, size)) * np.where(large, rng.random((400, size)), 0.001)
    found = flip_columns([{0: row} for row in differences], 200 if size > 20 else 1, 42)
    rejected = np.mean([each.p_value <= 0.05 for each in found])
    assert rejected <= 0.05 + 2.5 * (0.05 * 0.95 / 400) ** 0.5
    assert rejected == 0 if size < 6 else rejected > 0.01
    for each in found:
        assert (each.interval.low <= 0 <= each.interval.high) == (each.p_value > 0.05)


def test_nothing_differs():
    found = flip(np.zeros(9))
    assert (found.p_value, found.interval.low, found.interval.high) == (1, 0, 0)


def test_memory_does_not_grow_with_questions_times_flips():
    values = np.random.default_rng(0).normal(0, 1, 50_000)
    tracemalloc.start()
    found = flip(values, 1100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.floor == 1 / 1101
    assert peak < 60e6  # 1100 x 50,000 flips at once would be 440 MB
