"""Where the best mean is not the highest, the one nearest to its ideal is best: in tables, among draws, in choices."""

import math

import numpy as np
import pytest
from making import make_config, make_task
from tiny_models import build_language_model

from lofit_cli.analysis.intervals import Interval, bounded_interval, mean_interval
from lofit_cli.analysis.null_distribution import stand_among
from lofit_cli.artifacts.predictions import IDEALS, merit, metric_scale, metric_unit, right_above
from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.interventions.demonstrations import Demonstrations
from lofit_cli.methods.grid_search import Candidate, keep_best


@pytest.mark.parametrize(
    ("metric", "best", "others"),
    [
        ("mc1", 0.9, [0.5, 0.1]),
        ("token_logprob", -1.0, [-2.0, -9.0]),
        ("stereotype", 0.52, [0.9, 0.4, 0.0]),
        ("ss", 0.45, [0.6, 1.0]),
        ("abs_margin", 0.5, [2.0, 9.0]),
        ("bias_diff", -0.05, [0.2, -0.3]),
    ],
)
def test_the_best_mean_has_the_largest_merit(metric, best, others):
    assert max([best, *others], key=lambda mean: merit(metric, mean)) == best


@pytest.mark.parametrize("metric", IDEALS)
def test_no_single_question_is_right_where_a_middling_mean_is_best(metric):
    low, high = metric_scale(metric)
    assert low <= IDEALS[metric] <= high
    assert right_above(metric) is None


def test_a_mean_stands_above_the_draws_that_are_further_from_the_ideal():
    draws = [0.125, 0.375, 0.75, 0.9375]
    assert stand_among(0.625, draws, "stereotype").share_below == pytest.approx(3.5 / 4)
    assert stand_among(0.625, draws, "mc1").share_below == pytest.approx(2 / 4)


def test_log_probabilities_have_one_end_and_are_told_in_nats():
    assert metric_scale("token_logprob") == (-math.inf, 0.0)
    assert metric_scale("abs_margin") == (0.0, math.inf)
    assert metric_unit("token_logprob").of_mean == metric_unit("abs_margin").of_mean == "nats"
    values = {0: np.array([-0.1, -3.0, -0.2])}
    found = mean_interval(values, Interval(*metric_scale("token_logprob")))
    assert found == bounded_interval(values, Interval(-math.inf, 0.0))
    assert found.high == 0.0
    assert found.low < -1.1


@pytest.mark.parametrize(("metric", "chosen"), [("stereotype", 2.0), ("mc1", 1.0), ("abs_margin", 2.0)])
def test_the_strength_with_the_best_mean_is_chosen(tmp_path, metric, chosen):
    values = iter([0.95, 0.4, 0.8])
    candidates = {Candidate(alpha): Demonstrations() for alpha in (1.0, 2.0, 3.0)}
    lm, config = build_language_model("llama"), make_config("bitfit", tmp_path)
    run = RunDir(tmp_path, "train_offsets")
    found = keep_best(lm, make_task(), config, candidates, run, lambda *asked: {metric: next(values)})
    assert found is candidates[Candidate(chosen)]
