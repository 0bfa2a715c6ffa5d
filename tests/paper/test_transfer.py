"""Figure 2's marks: one-sided sign flips against the target's own heads."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from lofit_cli.paper.transfer import Transfer, score_transfers


def p_value(differences, num_flips):
    own = Transfer("t", "t", "mc2", {fold: np.zeros(len(values)) for fold, values in differences.items()})
    return score_transfers([own, Transfer("c", "t", "mc2", differences)], num_flips, seed=1)[1].p_value


def test_the_p_value_is_near_a_t_test_of_many_questions():
    differences = np.random.default_rng(0).normal(-0.05, 0.5, 400)
    expected = ttest_1samp(differences, 0, alternative="less").pvalue
    assert p_value({0: differences}, 4000) == pytest.approx(expected, abs=0.02)


def test_the_p_value_is_never_0_and_1_without_a_difference():
    worse = -np.random.default_rng(0).random(50)
    assert p_value({0: worse}, 999) == 1 / 2000
    assert p_value({0: np.zeros(25), 1: np.zeros(25)}, 999) == 1


def test_three_questions_mark_no_cell():
    assert p_value({0: np.full(3, -0.5)}, 999) == 1 / 8


def test_cells_are_pooled_over_folds_and_paired_where_these_are_shared():
    own = Transfer("t", "t", "mc1", {0: np.ones(40), 1: np.ones(20)})
    other = Transfer("c", "t", "mc1", {0: np.zeros(40)})
    same = Transfer("random", "t", "mc1", {1: np.ones(20)})
    alone = Transfer("t", "c", "em", {0: np.ones(4)})
    found = {(s.source, s.target): s for s in score_transfers([own, other, same, alone], 1000, seed=1)}
    assert (found["t", "t"].mean, found["t", "t"].p_value, found["t", "t"].mark) == (1, None, "")
    assert (found["c", "t"].mean, found["c", "t"].mark) == (0, "*")
    assert (found["random", "t"].p_value, found["random", "t"].mark) == (1, "")
    assert found["t", "c"].p_value is None


def test_marks_are_the_papers():
    rng = np.random.default_rng(0)
    own = Transfer("t", "t", "em", {0: np.zeros(500)})
    marks = set()
    for shift in np.linspace(0, 0.1, 15):
        scores = rng.normal(-shift, 1, 500)
        (found,) = score_transfers([own, Transfer("c", "t", "em", {0: scores})], 500, seed=1)[1:]
        assert found.mark == ("*" if found.p_value < 0.05 else "+" if found.p_value < 0.1 else "")
        marks.add(found.mark)
    assert {"", "*"} <= marks


def test_mean_difference_and_mark_are_of_the_same_folds():
    own = Transfer("t", "t", "mc1", {0: np.full(40, 0.9), 1: np.full(40, 0.1)})
    other = Transfer("c", "t", "mc1", {0: np.full(40, 0.8), 2: np.zeros(40)})
    apart = Transfer("random", "t", "mc1", {3: np.ones(4)})
    found = {s.source: s for s in score_transfers([own, other, apart], 1000, seed=1)}
    assert (found["t"].mean, found["t"].folds, found["t"].difference) == (pytest.approx(0.5), (0, 1), 0)
    # On the fold that both have it is worse, though the target's own heads have the lower mean over all folds.
    assert (found["c"].mean, found["c"].folds, found["c"].mark) == (pytest.approx(0.8), (0,), "*")
    assert found["c"].difference == pytest.approx(-0.1)
    assert (found["random"].folds, found["random"].difference, found["random"].p_value) == ((3,), None, None)
