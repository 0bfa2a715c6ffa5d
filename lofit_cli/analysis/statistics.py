"""Means with intervals, and paired tests between two runs on the same questions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, bootstrap, norm

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """A mean over questions and its standard error, both in the metric's own unit."""

    mean: float
    standard_error: float
    num_questions: int


@dataclass(frozen=True)
class Interval:
    """The ends of a 95 % confidence interval."""

    low: float
    high: float


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


def mean_interval(values: Sequence[float], num_resamples: int, seed: int) -> Interval:
    """Return a 95 % interval of the mean: Wilson's for 0/1 values, else the percentile bootstrap over questions."""
    if set(values) <= {0.0, 1.0}:
        found = binomtest(int(sum(values)), len(values)).proportion_ci(CONFIDENCE, method="wilson")
        return Interval(float(found.low), float(found.high))
    return _bootstrap_means(values, num_resamples, seed)[0]


def compare_paired(
    values: Sequence[float], baseline: Sequence[float], num_resamples: int, seed: int
) -> PairedDifference:
    """Compare two runs question by question.

    For 0/1 values the p-value is the exact McNemar test's (McNemar 1947: a binomial test on the questions that only
    one run got right); otherwise twice the smaller tail of the paired bootstrap over questions (Efron and Tibshirani
    1993, chapter 16). The interval is the paired bootstrap's in both cases.
    """
    differences = np.subtract(values, baseline)
    interval, means = _bootstrap_means(differences, num_resamples, seed)
    difference, detectable = float(differences.mean()), detectable_difference(differences)
    if set(values) | set(baseline) <= {0.0, 1.0}:
        gained, lost = int((differences > 0).sum()), int((differences < 0).sum())
        p_value = float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
        return PairedDifference(difference, interval, detectable, p_value, "McNemar, exact")
    # One is added to both counts so that no finite number of resamples claims p = 0.
    tail = min(int((means <= 0).sum()), int((means >= 0).sum()))
    p_value = min(1.0, 2 * (tail + 1) / (num_resamples + 1))
    return PairedDifference(difference, interval, detectable, p_value, "paired bootstrap")


def detectable_difference(differences: Sequence[float] | np.ndarray, power: float = 0.8) -> float:
    """Return the smallest true mean difference that a two-sided test at the 5 % level finds with this power.

    Source: Cohen 1988, chapter 2, for paired differences whose spread is the one observed; normal approximation.
    """
    spread = float(np.std(differences, ddof=1)) / len(differences) ** 0.5
    return float((norm.ppf((1 + CONFIDENCE) / 2) + norm.ppf(power)) * spread)


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


def _bootstrap_means(
    values: Sequence[float] | np.ndarray, num_resamples: int, seed: int
) -> tuple[Interval, np.ndarray]:
    """Return the percentile interval of the mean and the resampled means."""
    result = bootstrap(
        (np.asarray(values),),
        np.mean,
        n_resamples=num_resamples,
        confidence_level=CONFIDENCE,
        method="percentile",
        batch=1000,
        rng=np.random.default_rng(seed),
    )
    low, high = result.confidence_interval
    return Interval(float(low), float(high)), result.bootstrap_distribution
