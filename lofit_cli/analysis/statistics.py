"""Summaries, and paired tests between two runs on the same questions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from lofit_cli.analysis.intervals import CONFIDENCE, Folds, Interval, bounded_interval, estimate, is_binary, stack
from lofit_cli.analysis.sign_flips import SignFlips
from lofit_cli.artifacts.predictions import ROUNDING

FEWEST = 6
"""With fewer questions no difference is significant: two of the 2^5 flips of five questions are more than 5 %."""


@dataclass(frozen=True)
class Summary:
    """A mean over questions and its standard error (None with one question), both in the metric's own unit."""

    mean: float
    standard_error: float | None
    num_questions: int


@dataclass(frozen=True)
class PairedDifference:
    """A run's mean minus the baseline's on the same questions.

    Attributes:
        detectable: the smallest true difference that a test at the 5 % level would find four times in five.
        test: the name of the paired test behind `p_value`, with the smallest p-value it can give where that is not 0.
    """

    difference: float
    interval: Interval
    detectable: float
    p_value: float
    test: str


def summarise(values: Sequence[float]) -> Summary:
    """Return the mean and its standard error (sample standard deviation over the root of the count)."""
    error = float(np.std(values, ddof=1)) / len(values) ** 0.5 if len(values) > 1 else None
    return Summary(float(np.mean(values)), error, len(values))


def compare_paired(values: Folds, baseline: Folds, flips: SignFlips, scale: Interval) -> PairedDifference:
    """Compare two runs, or two means over seeds, question by question on the same folds.

    The p-value is that of the sign-flip test (Fisher 1935, section 21). For 0/1 values it is the exact McNemar test: a
    binomial test on the questions that only one run got right (McNemar 1947).

    The interval holds the differences that the test does not reject, and beyond these what `bounded_interval` adds;
    but where the test has found a difference, nothing is added on the side of 0.

    Args:
        flips: what they say of the differences.
        scale: the values' ends.
    """
    folds = subtract(values, baseline)
    reach = Interval(scale.low - scale.high, scale.high - scale.low)
    difference = float(stack(folds).mean())
    widened = _widen(flips, difference, bounded_interval(folds, reach))
    interval = Interval(max(reach.low, widened.low), min(reach.high, widened.high))
    test = "sign flips, exact" if flips.floor is None else f"sign flips, p >= {flips.floor:.1g}"
    named = "McNemar, exact" if is_binary(values, baseline) else test
    return PairedDifference(difference, interval, detectable_difference(folds, reach), flips.p_value, named)


def _widen(flips: SignFlips, difference: float, bounded: Interval) -> Interval:
    """Return the hull of both intervals, but keep the end nearer 0 where 0 is rejected."""
    kept, rejected = flips.interval, flips.p_value <= 0.05
    low = kept.low if rejected and difference > 0 else min(kept.low, bounded.low)
    high = kept.high if rejected and difference < 0 else max(kept.high, bounded.high)
    return Interval(low, high)


def subtract(values: Folds, baseline: Folds) -> dict[int, NDArray[np.float64]]:
    """Return the difference of each question on the folds that both cover; one that rounding makes counts as none."""
    shared = {fold: values[fold] - baseline[fold] for fold in values if fold in baseline}
    return {fold: np.where(np.abs(found) > ROUNDING, found, 0.0) for fold, found in shared.items()}


def detectable_difference(differences: Folds, scale: Interval, power: float = 0.8) -> float:
    """Return the smallest true mean difference that a two-sided test at the 5 % level finds with this power.

    It is the whole scale where no difference could be significant.

    Source: Cohen 1988, chapter 2, for paired differences whose spread is the one observed, with Student's t.
    """
    about = estimate(differences, scale)
    if len(stack(differences)) < FEWEST:
        return scale.high
    quantiles = student.ppf([(1 + CONFIDENCE) / 2, power], about.degrees)
    return min(scale.high, float(quantiles.sum()) * about.standard_error)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for how many there are, so that all of them together err 5 % of the time at 0.05.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted
