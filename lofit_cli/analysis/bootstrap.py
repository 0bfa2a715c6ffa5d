"""Resampling questions, within folds, for all columns of a comparison at once.

A draw of n questions with replacement is a row of counts, so that the resampled sums of every run and metric are one
matrix product. Each fold has its own generator: a column's result depends on nothing else that stands beside it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
BATCH = 1000
"""Resamples drawn at once."""
MAX_CELLS = 20_000_000
"""Resampled means held at once: 160 MB of float64."""
DECIMALS = 12
"""Means are rounded here, because a mean that is 0 but for rounding must count as a tie."""

Folds = Mapping[int, NDArray[np.float64]]
"""A value for each question, fold by fold."""


@dataclass(frozen=True)
class Interval:
    """The ends of a 95 % confidence interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Resampled:
    """What the resampled means of a column say.

    Attributes:
        interval: the percentile interval.
        num_at_most_0: how many means are 0 or less.
        num_at_least_0: how many are 0 or more.
        num_resamples: how many there are.
    """

    interval: Interval
    num_at_most_0: int
    num_at_least_0: int
    num_resamples: int


def bootstrap_columns(columns: Sequence[Folds], num_resamples: int, seed: int) -> list[Resampled]:
    """Return for each column what its mean over questions does when the questions are drawn anew.

    Questions are drawn with replacement within each fold, the same ones for all columns (Efron and Tibshirani 1993,
    chapters 13 and 16). With one fold 0 the draws are those of `scipy.stats.bootstrap` with `default_rng(seed)`.

    Args:
        columns: each covers one fold or more; a fold has the same number of questions in all that cover it.
    """
    block = max(1, MAX_CELLS // num_resamples)
    found: list[Resampled] = []
    for start in range(0, len(columns), block):
        found += _summarise(_resampled_means(columns[start : start + block], num_resamples, seed))
    return found


def _summarise(means: NDArray[np.float64]) -> list[Resampled]:
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(means, [tail, 100 - tail], axis=0)
    at_most, at_least = (means <= 0).sum(axis=0), (means >= 0).sum(axis=0)
    return [
        Resampled(Interval(float(a), float(b)), int(c), int(d), len(means))
        for a, b, c, d in zip(low, high, at_most, at_least, strict=True)
    ]


def _resampled_means(columns: Sequence[Folds], num_resamples: int, seed: int) -> NDArray[np.float64]:
    """Return (num_resamples, num_columns): sums within folds, over the number of questions of all of a column's."""
    sums = np.zeros((num_resamples, len(columns)))
    for fold in sorted({fold for column in columns for fold in column}):
        size = next(len(column[fold]) for column in columns if fold in column)
        values = np.column_stack([column.get(fold, np.zeros(size)) for column in columns])
        row = 0
        for counts in draw_counts(size, num_resamples, seed, fold):
            sums[row : row + len(counts)] += counts @ values
            row += len(counts)
    sizes = [sum(len(values) for values in column.values()) for column in columns]
    return np.round(sums / sizes, DECIMALS)


def draw_counts(num_questions: int, num_resamples: int, seed: int, fold: int) -> Iterator[NDArray[np.float64]]:
    """Yield batches of draws: (batch, num_questions), how often each question was drawn."""
    rng = np.random.default_rng([seed, fold])
    for start in range(0, num_resamples, BATCH):
        batch = min(BATCH, num_resamples - start)
        drawn = rng.integers(0, num_questions, (batch, num_questions))
        drawn += num_questions * np.arange(batch)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=batch * num_questions)
        yield counts.reshape(batch, num_questions).astype(np.float64)
