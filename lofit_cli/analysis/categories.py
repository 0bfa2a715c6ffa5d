"""Where a difference comes from: means of the questions of each category."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lofit_cli.analysis.intervals import Folds, stack
from lofit_cli.analysis.sign_flips import DECIMALS
from lofit_cli.analysis.statistics import subtract

FEWEST_QUESTIONS = 5
"""With fewer paired questions a category says nothing of a gain, however large: no test could find one."""


@dataclass(frozen=True)
class CategoryMean:
    """A row's mean on the questions of a category.

    Attributes:
        difference: the mean minus the baseline's on the `num_paired` questions that both cover; None with none.
        evidence: the difference over what chance alone would spread it by (`flip_z`); None without a difference.
    """

    category: str
    num_questions: int
    mean: float
    difference: float | None
    num_paired: int
    evidence: float | None = None


def category_means(values: Folds, baseline: Folds, categories: dict[int, Sequence[str]]) -> list[CategoryMean]:
    """Return the means of each category, the one with the most questions first.

    Args:
        baseline: empty for the baseline itself.
        categories: fold -> the category of each question.
    """
    own = _means(values, categories)
    # What is 0 but for the rounding of a mean over seeds must count as 0.
    differences = {fold: found.round(DECIMALS) for fold, found in subtract(values, baseline).items()}
    paired, squares = _means(differences, categories), _means({k: d**2 for k, d in differences.items()}, categories)
    rows = []
    for name, (size, mean) in own.items():
        num_paired, difference = paired.get(name, (0, None))
        evidence = None if difference is None else flip_z(num_paired, difference, squares[name][1])
        rows.append(CategoryMean(name, size, mean, difference, num_paired, evidence))
    return sorted(rows, key=lambda row: (-row.num_questions, row.category))


def _means(values: Folds, categories: dict[int, Sequence[str]]) -> dict[str, tuple[int, float]]:
    """Return each category's number of questions in these folds and their mean."""
    if not values:
        return {}
    of_question = np.concatenate([np.asarray(categories[fold]) for fold in sorted(values)])
    names, codes = np.unique(of_question, return_inverse=True)
    sizes = np.bincount(codes)
    means = np.bincount(codes, weights=stack(values)) / sizes
    return {str(name): (int(n), float(mean)) for name, n, mean in zip(names, sizes, means, strict=True)}


def flip_z(num_questions: int, difference: float, square: float) -> float:
    """Return a mean difference in units of the standard deviation that random signs of the differences would give it.

    With the sizes of n differences d kept and their signs drawn at random, the mean has expectation 0 and variance
    sum(d^2) / n^2, so that z = sum(d) / sqrt(sum(d^2)): no more than the root of the number of questions that differ,
    1 for a single question, and larger for more questions of the same mean. Equal runs give 0.

    Source: Fisher 1935, section 21, for the signs; for 0/1 values z^2 is McNemar's (1947) chi-square, uncorrected.

    Args:
        difference: the mean of the differences.
        square: the mean of their squares.
    """
    return float(num_questions**0.5 * difference / square**0.5) if square > 0 else 0.0
