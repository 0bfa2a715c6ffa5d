"""Scores of heads selected for one task and tuned for another, read in the layout of scripts/reproduce."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lofit_cli.artifacts.predictions import read_metric_columns
from lofit_cli.artifacts.run_dir import is_finished, read_manifest
from lofit_cli.errors import UserError

RANDOM = "random"
"""The source of heads drawn at random."""


@dataclass(frozen=True, eq=False)
class Transfer:
    """What the heads of a source score on a target.

    Attributes:
        metric: the target's headline metric.
        values: fold -> (num_questions,), averaged over seeds.
    """

    source: str
    target: str
    metric: str
    values: Mapping[int, NDArray[np.float64]]


def read_transfers(folder: Path, tasks: Sequence[str]) -> list[Transfer]:
    """Return what there is of each source (a task or `random`) on each target.

    Args:
        folder: holds `TARGET-FOLD/seed-SEED/eval-lofit-scale`, `eval-lofit-scale-from-SOURCE` and `eval-lofit-random`.

    Raises:
        UserError: there is no finished run.
    """
    found = [_read(folder, source, target) for target in tasks for source in (*tasks, RANDOM)]
    transfers = [transfer for transfer in found if transfer is not None]
    if not transfers:
        raise UserError(f"{folder} has no finished run of {', '.join(tasks)}; run scripts/reproduce/figure2.sh first")
    return transfers


def _run_name(source: str, target: str) -> str:
    if source == RANDOM:
        return "eval-lofit-random"
    return "eval-lofit-scale" if source == target else f"eval-lofit-scale-from-{source}"


def _read(folder: Path, source: str, target: str) -> Transfer | None:
    runs = [
        (read_manifest(run, "evaluate", "folder"), run)
        for run in sorted(folder.glob(f"{target}-*/seed-*/{_run_name(source, target)}"))
        if is_finished(run, "evaluate")
    ]
    if not runs:
        return None
    metric = runs[0][0]["metrics"][0]
    folds = sorted({manifest["fold"] for manifest, _ in runs})
    return Transfer(source, target, metric, {fold: _mean_over_seeds(runs, fold, metric) for fold in folds})


def _mean_over_seeds(runs: Sequence[tuple[dict[str, Any], Path]], fold: int, metric: str) -> NDArray[np.float64]:
    columns = [read_metric_columns(run, [metric])[metric] for manifest, run in runs if manifest["fold"] == fold]
    mean: NDArray[np.float64] = np.mean(columns, axis=0)
    return mean
