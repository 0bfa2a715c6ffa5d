"""Which questions changed between two runs: from wrong to right, from right to wrong, or by a little."""

from collections.abc import Sequence
from itertools import chain, zip_longest

import numpy as np
from numpy.typing import NDArray

LEAST_CHANGE = 0.001
"""A value that moved by less did not change: it is what batches and rounding do to a sum of probabilities."""


def crossings(before: NDArray[np.float64], after: NDArray[np.float64], border: float | None) -> NDArray[np.int64]:
    """Return for each question 1 where it went from wrong to right, -1 from right to wrong, 0 where it stayed.

    Args:
        before, after: (num_questions,) values of a metric.
        border: its `right_above`.
    """
    if border is None:
        return np.zeros(len(before), dtype=np.int64)
    return (after > border).astype(np.int64) - (before > border)


def choose_examples(
    before: NDArray[np.float64], after: NDArray[np.float64], border: float | None, most: int
) -> list[int]:
    """Return the indices of a few changed questions: a gain and a loss in turns, the clearest of each first.

    Those that became right or wrong stand before those that only moved, and larger changes before smaller ones.
    """
    change, crossed = after - before, crossings(before, after, border)
    clearest = sorted(range(len(change)), key=lambda i: (crossed[i] == 0, -abs(change[i]), i))
    gains, losses = ([i for i in clearest if sign * change[i] >= LEAST_CHANGE] for sign in (1, -1))
    return _in_turns(gains, losses)[:most]


def _in_turns(first: Sequence[int], second: Sequence[int]) -> list[int]:
    return [i for i in chain.from_iterable(zip_longest(first, second)) if i is not None]
