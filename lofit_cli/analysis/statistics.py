"""Means with intervals, and paired tests between two runs on the same questions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm

from lofit_cli.analysis.bootstrap import CONFIDENCE, Folds, Interval, Resampled


@dataclass(frozen=True)
class Summary:
    """A mean over questions and its standard error, both in the metric's own unit."""

    mean: float
    standard_error: float
    num_questions: int


@dataclass(frozen=True)
class PairedDifference:
    """A run's mean minus the baseline's on the same questions.

    Attributes:
        detectable: the smallest true difference that a test at the 5 % level would find four times in five.
        test: the name of the paired test behind `p_value`.
    """

    difference: float
    interval: Interval
    detectable: float
    p_value: float
    test: str


def summarise(values: Sequence[float]) -> Summary:
    """Return the mean and its standard error (sample standard deviation over the root of the count)."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return Summary(float(np.mean(values)), spread / len(values) ** 0.5, len(values))


def is_binary(*columns: Folds) -> bool:
    """Return whether all values are 0 or 1, as a right or wrong answer's are and a mean over seeds mostly isn't."""
    return all(bool(np.isin(values, (0.0, 1.0)).all()) for column in columns for values in column.values())


def mean_interval(values: Folds, resampled: Resampled) -> Interval:
    """Return a 95 % interval of the mean: Wilson's for 0/1 values, else the percentile bootstrap over questions.

    Args:
        values: a value a question; the mean is over the questions of all folds.
        resampled: what the bootstrap found for them.
    """
    if not is_binary(values):
        return resampled.interval
    stacked = stack(values)
    found = binomtest(int(stacked.sum()), len(stacked)).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(float(found.low), float(found.high))


def compare_paired(values: Folds, baseline: Folds, resampled: Resampled) -> PairedDifference:
    """Compare two runs, or two means over seeds, question by question on the same folds.

    For 0/1 values the p-value is the exact McNemar test's (McNemar 1947: a binomial test on the questions that only
    one run got right); otherwise twice the smaller tail of the paired bootstrap over questions (Efron and Tibshirani
    1993, chapter 16). The interval is the paired bootstrap's in both cases.

    Args:
        resampled: what the bootstrap found for the differences.
    """
    folds = subtract(values, baseline)
    differences = stack(folds)
    difference, detectable = float(differences.mean()), detectable_difference(*folds.values())
    if is_binary(values, baseline):
        gained, lost = int((differences > 0).sum()), int((differences < 0).sum())
        p_value = float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
        return PairedDifference(difference, resampled.interval, detectable, p_value, "McNemar, exact")
    # One is added to both counts so that no finite number of resamples claims p = 0.
    tail = min(resampled.num_at_most_0, resampled.num_at_least_0)
    p_value = min(1.0, 2 * (tail + 1) / (resampled.num_resamples + 1))
    return PairedDifference(difference, resampled.interval, detectable, p_value, "paired bootstrap")


def subtract(values: Folds, baseline: Folds) -> dict[int, NDArray[np.float64]]:
    """Return the difference of each question on the folds that both cover."""
    return {fold: values[fold] - baseline[fold] for fold in values if fold in baseline}


def stack(values: Folds) -> NDArray[np.float64]:
    """Return the values of all folds, one after another."""
    return np.concatenate([values[fold] for fold in sorted(values)])


def detectable_difference(*folds: Sequence[float] | NDArray[np.float64], power: float = 0.8) -> float:
    """Return the smallest true mean difference that a two-sided test at the 5 % level finds with this power.

    Args:
        folds: the differences of each fold; the standard error is that of the mean over all questions, from the
            spread within folds.

    Source: Cohen 1988, chapter 2, for paired differences whose spread is the one observed; normal approximation.
    """
    variance = sum(len(differences) * float(np.var(differences, ddof=1)) for differences in folds)
    error = variance**0.5 / sum(map(len, folds))
    return float((norm.ppf((1 + CONFIDENCE) / 2) + norm.ppf(power)) * error)


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
