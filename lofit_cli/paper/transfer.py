"""Whether heads selected for one task serve another: LoFiT's Figure 2."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lofit_cli.analysis.bootstrap import Folds, bootstrap_columns
from lofit_cli.analysis.statistics import subtract
from lofit_cli.paper.transfers import Transfer


@dataclass(frozen=True)
class ScoredTransfer:
    """A cell of Figure 2.

    Attributes:
        mean: over all questions, as a fraction.
        p_value: how likely chance makes the source's heads seem this much worse than the target's own; None for those
            themselves, and where they were not tuned on the same folds.
    """

    source: str
    target: str
    metric: str
    mean: float
    p_value: float | None

    @property
    def mark(self) -> str:
        """Return `*` below 0.05 and `+` below 0.1, as in LoFiT's Figure 2."""
        if self.p_value is None or self.p_value >= 0.1:
            return ""
        return "*" if self.p_value < 0.05 else "+"


def score_transfers(transfers: Sequence[Transfer], num_resamples: int, seed: int) -> list[ScoredTransfer]:
    """Set each source's heads against the target's own, by a paired bootstrap over questions."""
    own = {transfer.target: transfer for transfer in transfers if transfer.source == transfer.target}
    return [
        ScoredTransfer(
            transfer.source,
            transfer.target,
            transfer.metric,
            float(np.concatenate(list(transfer.values.values())).mean()),
            _p_value(transfer, own.get(transfer.target), num_resamples, seed),
        )
        for transfer in transfers
    ]


def _p_value(transfer: Transfer, own: Transfer | None, num_resamples: int, seed: int) -> float | None:
    if own is None or own is transfer or not (differences := subtract(transfer.values, own.values)):
        return None
    return lower_p_value(differences, num_resamples, seed)


def lower_p_value(differences: Folds, num_resamples: int, seed: int) -> float:
    """Return the one-sided p-value of the mean being below 0: the share of resampled means that are not.

    Source: Efron and Tibshirani 1993, chapter 16. LoFiT does not say how it drew its resamples.
    """
    (resampled,) = bootstrap_columns([differences], num_resamples, seed)
    # One is added to both counts so that no finite number of resamples claims p = 0.
    return (resampled.num_at_least_0 + 1) / (num_resamples + 1)
