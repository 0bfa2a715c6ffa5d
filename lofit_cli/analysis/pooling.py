"""Several runs as one: seeds are averaged question by question, folds stand one after another."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lofit_cli.artifacts.evaluations import Evaluation, MeasuredRun


def pool_seeds(runs: Sequence[MeasuredRun], metric: str) -> dict[int, NDArray[np.float64]]:
    """Return each question's value, averaged over the seeds of its fold.

    The mean of a row is the mean over the questions of all its folds: for TruthfulQA's two folds, over all 817.

    Returns:
        fold -> (num_questions,).
    """
    folds = sorted({run.fold for run in runs})
    return {fold: np.mean([run.values[metric] for run in runs if run.fold == fold], axis=0) for fold in folds}


def seed_spread(runs: Sequence[MeasuredRun], metric: str) -> float | None:
    """Return the standard deviation over seeds of the mean over all folds' questions.

    Only seeds with every fold count, because folds differ in how hard they are; None with fewer than two of these.
    """
    folds = {run.fold for run in runs}
    means = []
    for seed in sorted_seeds(runs):
        mine = [run for run in runs if run.seed == seed]
        if len(mine) == len(folds):
            means.append(np.mean(np.concatenate([run.values[metric] for run in mine])))
    return float(np.std(means, ddof=1)) if len(means) > 1 else None


def sorted_seeds(runs: Sequence[Evaluation]) -> list[str]:
    """Return the seeds of the runs, small ones first."""
    return sorted({run.seed for run in runs}, key=lambda seed: (len(seed), seed))


def describe_coverage(runs: Sequence[Evaluation]) -> str:
    """Return which folds and seeds a row covers: `folds 0,1 · seeds 1,42`."""
    seeds = {
        fold: sorted_seeds([run for run in runs if run.fold == fold]) for fold in sorted({run.fold for run in runs})
    }
    if len({tuple(found) for found in seeds.values()}) == 1:
        return f"{_count('fold', seeds)} · {_count('seed', next(iter(seeds.values())))}"
    return "; ".join(f"fold {fold} · {_count('seed', found)}" for fold, found in seeds.items())


def _count(noun: str, numbers: Sequence[str] | dict[int, list[str]]) -> str:
    return f"{noun}{'s' if len(numbers) > 1 else ''} {','.join(map(str, numbers))}"
