"""Which questions changed, and how surely a category did."""

from itertools import product

import numpy as np
import pytest

from lofit_cli.analysis.categories import category_means
from lofit_cli.analysis.changes import choose_examples, crossings
from lofit_cli.artifacts.predictions import right_above


@pytest.mark.parametrize(("metric", "border"), [("mc1", 0.5), ("mc2", 0.5), ("em", 0.5), ("bleu_diff", 0.0)])
def test_right_is_above_the_middle_of_the_scale(metric, border):
    assert right_above(metric) == border


def test_a_scale_without_ends_has_no_right_and_wrong(monkeypatch):
    monkeypatch.setattr("lofit_cli.artifacts.predictions.metric_scale", lambda metric: (0.0, np.inf))
    assert right_above("nll") is None
    assert crossings(np.array([0.0, 3.0]), np.array([9.0, 1.0]), None).tolist() == [0, 0]


def test_a_question_crosses_from_wrong_to_right_or_back():
    before, after = np.array([0, 1, 1, 0, 0.2, 0.5]), np.array([1, 0, 1, 0, 0.4, 0.6])
    assert crossings(before, after, 0.5).tolist() == [1, -1, 0, 0, 0, 1]


def test_examples_are_gains_and_losses_in_turns_and_the_clearest_first():
    before = np.array([0.1, 0.9, 0.1, 0.6, 0.0, 0.40, 0.7])
    after = np.array([0.4, 0.1, 0.9, 0.4, 0.0, 0.4005, 0.7])
    # 2 and 1 changed sides by most, then 3; 0 moved by more than 3 and changed no side; the others did not change.
    assert choose_examples(before, after, 0.5, 9) == [2, 1, 0, 3]
    assert choose_examples(before, after, 0.5, 1) == [2]
    assert choose_examples(before, before, 0.5, 3) == []


def categories_of(differences, names):
    values = {0: 0.5 + np.array(differences) / 2}
    found = category_means(values, {0: 0.5 - np.array(differences) / 2}, {0: names})
    return {category.category: category.evidence for category in found}


@pytest.mark.parametrize("differences", [[1.0, 1, 0, -1, 1], [0.3, -0.1, 0.2, 0.05], [1.0], [-1.0, -1, -1]])
def test_evidence_is_the_gain_over_its_spread_when_signs_are_drawn(differences):
    flipped = [np.mean(np.array(signs) * differences) for signs in product((1, -1), repeat=len(differences))]
    evidence = categories_of(differences, ["a"] * len(differences))["a"]
    assert evidence == pytest.approx(np.mean(differences) / np.std(flipped))


def test_evidence_is_the_root_of_mcnemars_statistic():
    gained, lost = 9, 2
    evidence = categories_of([1.0] * gained + [-1.0] * lost + [0.0] * 30, ["a"] * 41)["a"]
    assert evidence**2 == pytest.approx((gained - lost) ** 2 / (gained + lost))


def test_more_questions_of_the_same_difference_are_more_evidence():
    small, large = [1.0, 0, 0, 0, 0], [1.0, 0, 0, 0, 0] * 10
    found = categories_of([*small, *large, 1.0], ["small"] * 5 + ["large"] * 50 + ["one"])
    assert found["one"] == pytest.approx(1)
    assert found["large"] > 3 > 1.1 > found["small"] > 0


def test_what_differs_by_rounding_is_no_evidence():
    values, baseline = {0: np.array([0.1 + 0.2, 0.7])}, {0: np.array([0.3, 0.7])}
    (found,) = category_means(values, baseline, {0: ["a", "a"]})
    assert values[0][0] != baseline[0][0]
    assert found.evidence == 0
