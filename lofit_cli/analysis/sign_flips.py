"""The paired test: if two runs are equally good, each question's difference might as well have had the other sign.

Flipping the signs of some questions takes twice their sum from the total, so the test asks how often the questions of a
random subset sum to 0 or less. The same subsets give the interval (Hartigan 1969, "Using subsample values as typical
values"): a true difference x is rejected where few subsets have a mean below x, or above it. A subset and what it
leaves out are used together, so that both tails have the same size.

Each fold has its own generator: what is found for a column depends on nothing else that stands beside it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from lofit_cli.analysis.intervals import Folds, Interval, stack

MAX_EXACT = 20
"""Up to this many questions that differ, all their flips are tried: 2^20 of them."""
ONE_IN = 20
"""The test rejects where one flip in twenty or fewer is as extreme: the 5 % level, in whole numbers."""
MAX_CELLS = 20_000_000
"""Sums held at once: 160 MB of float64."""
ROWS, QUESTIONS = 1000, 2000
"""Flips and questions drawn at once: 16 MB of float64."""
DECIMALS = 12
"""Differences and means are rounded here, because what is 0 but for rounding must count as 0."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SignFlips:
    """What the flips say of a column of differences.

    Attributes:
        lower_p: one-sided p-value of the mean being below 0.
        upper_p: of its being above 0.
        interval: the true differences that the two-sided test does not reject at the 5 % level; an end is infinite
            where so few questions can reject none. 0 is in it exactly where `p_value` is above 0.05.
        floor: the smallest two-sided p-value that this many random flips can give; None where p-values are exact.
    """

    lower_p: float
    upper_p: float
    interval: Interval
    floor: float | None

    @property
    def p_value(self) -> float:
        """Return the two-sided p-value."""
        return min(1.0, 2 * self.lower_p, 2 * self.upper_p)


@dataclass(frozen=True, eq=False)
class Subsets:
    """The sums of subsets of a column's questions; the first subset is empty: no sign flipped, what was observed.

    Attributes:
        sums: (num_subsets,).
        sizes: (num_subsets,), how many questions each has.
    """

    sums: Floats
    sizes: Floats

    def typical_values(self, differences: Floats) -> Floats:
        """Return the means of the subsets and of what they leave out, nan for an empty one: (2 * num_subsets,)."""
        sums = np.concatenate([self.sums, differences.sum() - self.sums])
        sizes = np.concatenate([self.sizes, len(differences) - self.sizes])
        means: Floats = np.divide(sums, sizes, out=np.full(len(sums), np.nan), where=sizes > 0)
        return means.round(DECIMALS)


def flip_columns(columns: Sequence[Folds], num_flips: int, seed: int) -> list[SignFlips]:
    """Return for each column of differences whether its mean over all questions could be 0, and what else it could be.

    All flips are tried where at most `MAX_EXACT` questions differ; else `num_flips` random ones and the observed signs,
    so that no p-value is 0 (Phipson and Smyth 2010). Questions that don't differ change no p-value.

    Args:
        columns: each covers one fold or more; a fold has the same number of questions in all that cover it.
    """
    rounded = [{fold: values.round(DECIMALS) for fold, values in column.items()} for column in columns]
    is_long = [np.count_nonzero(stack(column)) > MAX_EXACT for column in rounded]
    drawn = _draw_subsets([c for c, long in zip(rounded, is_long, strict=True) if long], num_flips, seed)
    return [
        _judge(stack(column), next(drawn), 1 / (num_flips + 1))
        if long
        else _judge(stack(column), _all_subsets(stack(column), num_flips, seed), None)
        for column, long in zip(rounded, is_long, strict=True)
    ]


def _judge(differences: Floats, subsets: Subsets, floor: float | None) -> SignFlips:
    means = subsets.typical_values(differences)
    empty = int(np.isnan(means).sum())
    lower_p, upper_p = (float((side.sum() + empty) / len(means)) for side in (means >= 0, means <= 0))
    if len(set(np.abs(differences[differences != 0]))) == 1:
        # All that differs differs by as much: the flips are tosses of a coin.
        gained, differing = int((differences > 0).sum()), int(np.count_nonzero(differences))
        lower_p, upper_p = (float(binomtest(gained, differing, alternative=a).pvalue) for a in ("less", "greater"))
        floor = None
    return SignFlips(lower_p, upper_p, Interval(_low_end(means, upper_p), 0.0 - _low_end(-means, lower_p)), floor)


def _low_end(means: Floats, upper_p: float) -> float:
    """Return the smallest true difference that is not rejected.

    Args:
        means: of subsets and of what they leave out; an empty one is as extreme as any.
        upper_p: the p-value of the mean being above 0. It decides on which side of 0 the end lies: it may be exact
            where `means` are of random subsets.
    """
    known = means[~np.isnan(means)]
    rank = len(means) // (2 * ONE_IN) + 1 - (len(means) - len(known))
    at_most_0 = int((known <= 0).sum())
    rank = min(rank, at_most_0) if 2 * upper_p > 1 / ONE_IN else max(rank, at_most_0 + 1)
    return float(np.partition(known, rank - 1)[rank - 1]) if rank > 0 else -np.inf


def _all_subsets(differences: Floats, num_flips: int, seed: int) -> Subsets:
    """Return one of each subset of the differing questions and its rest, with random ones of those that don't differ.

    The latter change the means of subsets and the sign of none, so that each subset is repeated with other ones until
    there are as many as `num_flips`.
    """
    differing, rest = differences[differences != 0], int((differences == 0).sum())
    sums, sizes = np.zeros(1), np.zeros(1)
    for difference in differing[1:]:
        sums, sizes = np.concatenate([sums, sums + difference]), np.concatenate([sizes, sizes + 1])
    repeats = -(-num_flips // len(sums)) if rest else 1
    drawn = np.random.default_rng([seed, rest]).binomial(rest, 0.5, repeats * len(sums))
    drawn[0] = 0
    return Subsets(np.tile(sums, repeats), np.tile(sizes, repeats) + drawn)


def _draw_subsets(columns: Sequence[Folds], num_flips: int, seed: int) -> Iterator[Subsets]:
    """Yield `num_flips` random subsets of each column after an empty one, the same ones for all columns."""
    block = max(1, MAX_CELLS // (num_flips + 1))
    for start in range(0, len(columns), block):
        part = columns[start : start + block]
        sums, sizes = (np.zeros((num_flips + 1, len(part))) for _ in range(2))
        for fold in sorted({fold for column in part for fold in column}):
            covering = [i for i, column in enumerate(part) if fold in column]
            values = np.column_stack([np.ones(len(part[covering[0]][fold])), *(part[i][fold] for i in covering)])
            for rows, questions, drawn in _draw(len(values), num_flips, seed, fold):
                found = drawn @ values[questions]
                sums[rows, covering] += found[:, 1:]
                sizes[rows, covering] += found[:, :1]
        yield from (Subsets(sums[:, i], sizes[:, i]) for i in range(len(part)))


def _draw(num_questions: int, num_flips: int, seed: int, fold: int) -> Iterator[tuple[slice, slice, Floats]]:
    """Yield rows and questions with 1 where a question is in the row's subset, else 0; row 0 is left out."""
    rng = np.random.default_rng([seed, fold])
    for row in range(1, num_flips + 1, ROWS):
        rows = slice(row, min(row + ROWS, num_flips + 1))
        for question in range(0, num_questions, QUESTIONS):
            questions = slice(question, min(question + QUESTIONS, num_questions))
            shape = rows.stop - row, questions.stop - question
            yield rows, questions, rng.integers(0, 2, shape, dtype=np.uint8).astype(np.float64)
