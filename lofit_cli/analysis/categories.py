"""Where a difference comes from: means of the questions of each category."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lofit_cli.analysis.intervals import Folds, stack
from lofit_cli.analysis.statistics import subtract


@dataclass(frozen=True)
class CategoryMean:
    """A row's mean on the questions of a category.

    Attributes:
        difference: the mean minus the baseline's on the `num_paired` questions that both cover; None with none.
    """

    category: str
    num_questions: int
    mean: float
    difference: float | None
    num_paired: int


def category_means(values: Folds, baseline: Folds, categories: dict[int, Sequence[str]]) -> list[CategoryMean]:
    """Return the means of each category, the one with the most questions first.

    Args:
        baseline: empty for the baseline itself.
        categories: fold -> the category of each question.
    """
    own = _means(values, categories)
    paired = _means(subtract(values, baseline), categories)
    rows = []
    for name, (size, mean) in own.items():
        num_paired, difference = paired.get(name, (0, None))
        rows.append(CategoryMean(name, size, mean, difference, num_paired))
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
