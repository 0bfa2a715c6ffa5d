"""Training several edits of heads at once, each on a copy of its own of every row."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lofit_cli.console import progress_bar
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.interventions.side_by_side import attached_side_by_side
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.logprobs import answer_logprobs, copied_logprobs
from lofit_cli.models.memory import if_possible
from lofit_cli.models.packing_probe import make_probe
from lofit_cli.models.trunk_rows import open_trunk
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.sharing import add_up
from lofit_cli.tasks.task import Task
from lofit_cli.training.descent import Descent
from lofit_cli.training.objective import Objective, TrainingItem
from lofit_cli.training.state import TrainingState

ROUNDING = 0.005
"""The share by which copies may differ in half precision; what is no copy differs by more."""


def train_side_by_side(
    edits: Sequence[HeadEdit], lm: Decoder, task: Task[Any], config: TrainOffsetsConfig, title: str
) -> None:
    """Train edits in place, as `train` trains each of them alone; nothing is logged.

    Args:
        edits: one, or several on a model that takes packed rows.
        title: of the progress bar.

    Raises:
        RunError: a loss or its gradient is not finite.
    """
    trainer = config.trainer
    trunk = open_trunk(lm, min(edit.num_untouched_layers() for edit in edits))
    objective = Objective(lm, task, trainer.beta, trunk)
    items, validation = objective.prepare("train"), objective.prepare("validation")
    total = -(-len(items) // trainer.batch_size) * trainer.num_epochs
    descents = [Descent(edit, trainer, total) for edit in edits]
    best = _Best(descents)
    order = TrainingState(descents[0], config.seed)
    attached = edits[0].attach(lm) if len(edits) == 1 else attached_side_by_side(edits, lm)
    with progress_bar(title, total) as advance, attached:
        for epoch in range(1, trainer.num_epochs + 1):
            for batch in order.batches(items, trainer.batch_size):
                _step(objective, descents, batch)
                advance(1)
            if trainer.keep == "best" and (not epoch % trainer.validate_every or epoch == trainer.num_epochs):
                with torch.no_grad():
                    best.note(add_up(objective.losses(validation, len(edits))))
    best.take()


def _step(objective: Objective, descents: Sequence[Descent], batch: Sequence[TrainingItem]) -> None:
    for descent in descents:
        descent.optimizer.zero_grad()
    losses = objective.losses(batch, len(descents), backward=True)
    for descent, loss in zip(descents, losses, strict=True):
        descent.take_gradient(loss)
        descent.move()


class _Best:
    """The parameters of the lowest validation loss of each descent, where these are kept."""

    def __init__(self, descents: Sequence[Descent]) -> None:
        self._descents = descents
        self._losses = [math.inf] * len(descents)
        self._values: list[list[Tensor]] = [[] for _ in descents]

    def note(self, losses: Sequence[float]) -> None:
        """Remember the parameters of those whose loss is the lowest so far."""
        for number, (descent, loss) in enumerate(zip(self._descents, losses, strict=True)):
            if loss < self._losses[number]:
                self._losses[number] = loss
                self._values[number] = [parameter.detach().clone() for parameter in descent.parameters]

    def take(self) -> None:
        """Give the parameters the values that were remembered, if any were."""
        for descent, values in zip(self._descents, self._values, strict=True):
            for parameter, value in zip(descent.parameters, values, strict=bool(values)):
                parameter.data.copy_(value)


def num_together(lm: Decoder, task: Task[Any], batch_size: int) -> int:
    """Return how many edits stand side by side in one forward pass: as many copies of a batch as it has tokens for."""
    if lm.batching != "packed" or not _copies_rows(lm):
        return 1
    items = Objective(lm, task, 1.0).tokenize("train")
    in_all = sum(item.sequences[0].start + sum(len(s.tokens) - s.start for s in item.sequences) for item in items)
    return max(1, lm.max_row_tokens // math.ceil(in_all / len(items) * batch_size))


def _copies_rows(lm: Decoder) -> bool:
    """Return whether each copy of a row gives what the row gives, which is tried with two edits that change nothing."""
    mask, sequences = lm.geometry.every_head(), make_probe(lm).siblings
    unchanged = torch.zeros(lm.geometry.total_heads, lm.geometry.head_dim)
    edits = [HeadEdit(lm.geometry, mask, offset=unchanged).to(lm.device) for _ in range(2)]
    with torch.no_grad(), attached_side_by_side(edits, lm):
        copies = if_possible(lambda: copied_logprobs(lm, sequences, len(edits)))
    with torch.no_grad():
        alone = answer_logprobs(lm, sequences)
    return copies is not None and all(torch.allclose(copy, alone, rtol=ROUNDING) for copy in copies)
