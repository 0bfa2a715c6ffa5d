"""95 % intervals of a mean over questions, when the values can't leave a scale: [0, 1] for most metrics."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from scipy.stats import t as student

CONFIDENCE = 0.95

Folds = Mapping[int, NDArray[np.float64]]
"""A value for each question, fold by fold."""


@dataclass(frozen=True)
class Interval:
    """The ends of a 95 % confidence interval, or of the scale that a metric's values keep to."""

    low: float
    high: float

    @property
    def is_bounded(self) -> bool:
        """Return whether it has two ends."""
        return math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True)
class Estimate:
    """A mean that allows for what few questions may not have shown.

    Attributes:
        mean: of the questions and of one more at each end of the scale.
        standard_error: of that mean, from the spread within folds.
        degrees: degrees of freedom of the standard error.
    """

    mean: float
    standard_error: float
    degrees: int


def stack(values: Folds) -> NDArray[np.float64]:
    """Return the values of all folds, one after another."""
    return np.concatenate([values[fold] for fold in sorted(values)])


def is_binary(*columns: Folds) -> bool:
    """Return whether all values are 0 or 1, as a right or wrong answer's are and a mean over seeds mostly isn't."""
    return all(bool(np.isin(values, (0.0, 1.0)).all()) for column in columns for values in column.values())


def estimate(values: Folds, scale: Interval) -> Estimate:
    """Return the mean and its standard error after adding one question at each end of the scale.

    Eight questions that all agree don't say that every question would: without the two, half of the intervals of our
    own small samples missed the mean (`scripts/coverage.py`).

    Source: Bonett and Price 2012 for differences of 0/1 values, -1, 0 or 1, where one is added to the gains and one to
    the losses; for other values the same two questions, with Student's t. Where a scale has no end nothing can be
    added, and this is Student's t alone.
    """
    stacked = stack(values)
    added = [scale.low, scale.high] if scale.is_bounded else []
    number = len(stacked) + len(added)
    mean = float(stacked.sum() + sum(added)) / number
    squares = sum(float(((found - found.mean()) ** 2).sum()) for found in values.values())
    squares += sum((end - mean) ** 2 for end in added)
    degrees = number - len(values)
    return Estimate(mean, (squares / degrees / number) ** 0.5, degrees)


def mean_interval(values: Folds, scale: Interval) -> Interval:
    """Return a 95 % interval of the mean: Wilson's for values that can be 0 or 1 only, else `bounded_interval`.

    Args:
        values: a value a question; the mean is over the questions of all folds.
    """
    if not (is_binary(values) and scale == Interval(0, 1)):
        return bounded_interval(values, scale)
    stacked = stack(values)
    found = binomtest(int(stacked.sum()), len(stacked)).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(float(found.low), float(found.high))


def bounded_interval(values: Folds, scale: Interval) -> Interval:
    """Return a 95 % interval of the mean from `estimate`, cut where the scale ends."""
    about = estimate(values, scale)
    reach = float(student.ppf((1 + CONFIDENCE) / 2, about.degrees)) * about.standard_error
    return Interval(max(scale.low, about.mean - reach), min(scale.high, about.mean + reach))
