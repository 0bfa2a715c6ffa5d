"""Whether heads selected for one task serve another: LoFiT's Figure 2, from runs in the layout of scripts/reproduce."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lofit_cli.analysis.intervals import stack
from lofit_cli.analysis.sign_flips import flip_columns
from lofit_cli.analysis.statistics import subtract
from lofit_cli.artifacts.finished_runs import is_finished, read_manifest
from lofit_cli.artifacts.manifest import EvaluateManifest
from lofit_cli.artifacts.predictions import read_metrics
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
        (read_manifest(run, EvaluateManifest, "folder"), run)
        for run in sorted(folder.glob(f"{target}-*/seed-*/{_run_name(source, target)}"))
        if is_finished(run, EvaluateManifest)
    ]
    if not runs:
        return None
    metric = runs[0][0].metrics[0]
    folds = sorted({manifest.fold for manifest, _ in runs})
    return Transfer(source, target, metric, {fold: _mean_over_seeds(runs, fold, metric) for fold in folds})


def _mean_over_seeds(runs: Sequence[tuple[EvaluateManifest, Path]], fold: int, metric: str) -> NDArray[np.float64]:
    columns = [read_metrics(run, [metric]).values[metric] for manifest, run in runs if manifest.fold == fold]
    mean: NDArray[np.float64] = np.mean(columns, axis=0)
    return mean


@dataclass(frozen=True)
class ScoredTransfer:
    """A cell of Figure 2.

    Attributes:
        folds: those that the target's own heads were measured on as well, or all that there are where none is.
        mean: over the questions of these folds, as a fraction.
        difference: to the target's own heads on the same questions; None where there are no such heads or folds.
        p_value: how likely chance makes the source's heads seem this much worse than the target's own on the same
            questions; None for those themselves and without a difference.
    """

    source: str
    target: str
    metric: str
    mean: float
    folds: tuple[int, ...]
    difference: float | None = None
    p_value: float | None = None

    @property
    def mark(self) -> str:
        """Return `*` below 0.05 and `+` below 0.1, as in LoFiT's Figure 2."""
        if self.p_value is None or self.p_value >= 0.1:
            return ""
        return "*" if self.p_value < 0.05 else "+"


def score_transfers(transfers: Sequence[Transfer], num_resamples: int, seed: int) -> list[ScoredTransfer]:
    """Set each source's heads against the target's own: one-sided sign flips, with `num_resamples` random ones.

    LoFiT marks its Figure 2 by a paired bootstrap that it does not describe; with few questions that test finds
    differences where there are none, and with many it agrees with this one.
    """
    own = {transfer.target: transfer for transfer in transfers if transfer.source == transfer.target}
    return [_score(transfer, own.get(transfer.target), num_resamples, seed) for transfer in transfers]


def _score(transfer: Transfer, own: Transfer | None, num_resamples: int, seed: int) -> ScoredTransfer:
    differences = subtract(transfer.values, own.values) if own else {}
    folds = tuple(sorted(differences or transfer.values))
    mean = float(stack({fold: transfer.values[fold] for fold in folds}).mean())
    found = ScoredTransfer(transfer.source, transfer.target, transfer.metric, mean, folds)
    if not differences:
        return found
    p_value = None if own is transfer else flip_columns([differences], num_resamples, seed)[0].lower_p
    return replace(found, difference=float(stack(differences).mean()), p_value=p_value)
