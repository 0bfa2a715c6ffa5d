"""Where selected heads stand among random selections of as many heads, trained in the same way."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from lofit_cli.analysis.intervals import CONFIDENCE, Interval
from lofit_cli.artifacts.evaluations import MeasuredRun
from lofit_cli.artifacts.predictions import ROUNDING, merit

SHARED = ("method", "num_heads", "num_train", "seed", "source_seed", "fold", "trained_fold", "questions_hash")
"""The facts that draws have in common with the selected heads."""
OF_SELECTION = "selection."
"""What settings of the selection begin with in `made_by`."""


@dataclass(frozen=True)
class Standing:
    """A mean among those of random selections.

    Attributes:
        draws: the mean of each draw over the same questions, in order.
        share_below: the share of the draws that are worse; one that is as good counts half.
        interval: 95 % of the share of all random selections that are worse, from so many draws.
    """

    draws: tuple[float, ...]
    share_below: float
    interval: Interval


def stand_among(mean: float, draws: Sequence[float], metric: str) -> Standing:
    """Return where a metric's mean stands among draws, with Clopper and Pearson's interval of a share.

    It allows for how few draws there are, and takes the questions as they are.

    Source: Clopper and Pearson 1934, as quantiles of beta distributions, which take halves as well.
    """
    ordered, number = sorted(draws), len(draws)
    own, others = merit(metric, mean), [merit(metric, draw) for draw in ordered]
    equal = [math.isclose(own, other, rel_tol=ROUNDING, abs_tol=ROUNDING) for other in others]
    worse = sum(0.5 if same else float(other < own) for other, same in zip(others, equal, strict=True))
    tail = (1 - CONFIDENCE) / 2
    low = float(beta.ppf(tail, worse, number - worse + 1)) if worse > 0 else 0.0
    high = float(beta.ppf(1 - tail, worse + 1, number - worse)) if worse < number else 1.0
    return Standing(tuple(ordered), worse / number, Interval(low, high))


def find_draws(runs: Sequence[MeasuredRun], others: Sequence[MeasuredRun], metric: str) -> list[float]:
    """Return the means of draws that were trained as the runs of a row were, over the same questions.

    Args:
        others: all runs of the table; those of a row without draws of its own may have another row's.

    Returns:
        as many as every fold and seed of the row has; none where one of them has none.
    """
    donors = [next((other for other in (run, *others) if _has_draws_for(other, run, metric)), None) for run in runs]
    found = [donor.draws[metric] for donor in donors if donor]
    if len(found) < len(runs):
        return []
    number = min(len(draws) for draws in found)
    return [_pool(runs, [draws[i] for draws in found]) for i in range(number)]


def _has_draws_for(other: MeasuredRun, run: MeasuredRun, metric: str) -> bool:
    return metric in other.draws and _training(other) == _training(run)


def _training(run: MeasuredRun) -> str:
    """Return what a run has in common with those that differ from it in their heads only."""
    settings = {name: value for name, value in run.made_by.items() if not name.startswith(OF_SELECTION)}
    facts = [getattr(run.manifest, name) for name in SHARED]
    return json.dumps([facts, settings], sort_keys=True)


def _pool(runs: Sequence[MeasuredRun], values: Sequence[NDArray[np.float64]]) -> float:
    """Return the mean over the questions of all folds, each averaged over its seeds, as a row's own mean is."""
    folds = sorted({run.fold for run in runs})
    own = [[v for run, v in zip(runs, values, strict=True) if run.fold == fold] for fold in folds]
    return float(np.concatenate([np.mean(of_fold, axis=0) for of_fold in own]).mean())
