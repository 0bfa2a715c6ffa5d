"""The one training loop: DPO or SFT of the numbers of an intervention on a frozen model."""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.artifacts.seen_items import add_seen
from lofit_cli.console import Advance, progress_bar, say
from lofit_cli.errors import RunError
from lofit_cli.evaluation.measure import mean_metrics, measure_split, require_fit
from lofit_cli.interventions.intervention import FILE_NAME, Intervention
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.trunk_rows import open_trunk
from lofit_cli.schema.components import TrainerConfig
from lofit_cli.schema.stages import SelectHeadsConfig, TrainOffsetsConfig
from lofit_cli.sharing import add_up, require_same
from lofit_cli.tasks.task import Task
from lofit_cli.training.descent import Descent
from lofit_cli.training.objective import Objective, TrainingItem
from lofit_cli.training.state import VALIDATION, TrainingState

SEEN_SPLITS = ("train", "validation")
WORSE = 1.01
"""From this many times the base model's loss on, it is told that training made it worse; rounding stays far below."""


def train(
    edit: Intervention, lm: Decoder, task: Task[Any], config: SelectHeadsConfig | TrainOffsetsConfig, run: RunDir
) -> None:
    """Train an intervention in place, logging each step and, every so many epochs, the validation split.

    Leaves the last epoch's values, or those of the lowest validation loss if `trainer.keep` is `best`.

    Args:
        config: has the settings of the training loop, the protocol of validation and the seed.

    Raises:
        RunError: the loss or its gradient is not finite; `intervention.safetensors` has the last good values.
    """
    trainer = config.trainer
    add_seen(run.path, (item.fingerprint for split in SEEN_SPLITS for item in task.items(split)))
    run.record_settings(trainer=trainer.shaping())
    if not task.generates:
        # Validation asks under a longer prompt than training; an epoch is a long time to wait for its refusal.
        require_fit(lm, task, "validation", config.eval.protocol)
    trunk = open_trunk(lm, edit.num_untouched_layers())
    objective = Objective(lm, task, trainer.beta, trunk, edit.pair_loss)
    measured = trunk and trunk.emptied()
    items, validation = objective.prepare("train"), objective.prepare("validation")
    total = -(-len(items) // trainer.batch_size) * trainer.num_epochs
    state = TrainingState(Descent(edit, trainer, total), config.seed)
    with progress_bar("training", total) as advance, _kept_on_error(state, edit, lm, run), _in_training(edit, lm):
        # Attaching an adapter draws random numbers, so the generators are set after it.
        state.resume(run)
        advance(state.position.step)
        while state.position.epoch <= trainer.num_epochs:
            _train_epoch(state, objective, items, trainer, run, advance)
            if not state.position.epoch % trainer.validate_every or state.position.epoch == trainer.num_epochs:
                with lm.keeping(measured):
                    found = _validate(edit, objective, validation, config.eval.protocol)
                state.note_validation(found, run, trainer.keep == "best")
            state.end_epoch()
    state.take_best()
    _note_worse(edit, objective, validation, trainer, run)
    require_same(
        "what they have learnt", lambda: [float(values.detach().double().sum()) for values in edit.parameters()]
    )


def _train_epoch(
    state: TrainingState,
    objective: Objective,
    items: Sequence[TrainingItem],
    trainer: TrainerConfig,
    run: RunDir,
    advance: Advance,
) -> None:
    """Take the steps of the epoch under way that are not done yet, with a checkpoint every so many of them."""
    for batch in state.batches(items, trainer.batch_size):
        num_tokens = sum(len(sequence.tokens) for item in batch for sequence in item.sequences)
        loss = state.step(partial(summed_loss, state.descent.edit, objective, batch, backward=True), num_tokens, run)
        advance(1, f"loss {loss:.3f}")
        if trainer.checkpoint_every and not state.position.step % trainer.checkpoint_every:
            state.save(run)


def summed_loss(
    edit: Intervention, objective: Objective, items: Sequence[TrainingItem], backward: bool = False
) -> float:
    """Return the loss of items in all directions of an edit, summed.

    Args:
        backward: add its gradient to the parameters'.
    """
    total = 0.0
    for sign in edit.signs:
        edit.sign = sign
        total += objective.loss(items, backward, sign)
    edit.sign = 1
    return total


def _validate(
    edit: Intervention, objective: Objective, items: Sequence[TrainingItem], protocol: str
) -> dict[str, float]:
    """Return the validation split's loss, and its metrics where no text has to be generated."""
    metrics: dict[str, float] = {}
    edit.eval()
    loss = _loss(edit, objective, items)
    with torch.no_grad():
        if not objective.task.generates:
            metrics = mean_metrics(measure_split(objective.lm, objective.task, "validation", protocol))
    edit.train()
    return {"loss": loss, **metrics}


def _loss(edit: Intervention, objective: Objective, items: Sequence[TrainingItem]) -> float:
    with torch.no_grad():
        (loss,) = add_up([summed_loss(edit, objective, items)])
    return loss


def _note_worse(
    edit: Intervention, objective: Objective, items: Sequence[TrainingItem], trainer: TrainerConfig, run: RunDir
) -> None:
    """Say so where what is kept does worse on the validation split than the base model, which nothing else tells."""
    lines = (run.path / VALIDATION).read_text(encoding="utf-8").splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    kept, least = losses[-1] if trainer.keep != "best" else min(losses), min(losses)
    # DPO's reference is the base model itself: no pair has a margin, and the sigmoid of 0 is a half.
    is_dpo = objective.task.objective == "dpo" and objective.pair_loss == "dpo"
    base = math.log(2) if is_dpo else _loss(edit, objective, items)
    if kept > WORSE * base:
        otherwise = ", or set trainer.keep=best" if least <= base else ""
        say(
            f"note: training made the validation loss worse, {kept:.4g} where the base model has {base:.4g}; lower "
            f"trainer.learning_rate={trainer.learning_rate:g}{otherwise}"
        )


@contextmanager
def _in_training(edit: Intervention, lm: Decoder) -> Iterator[None]:
    """Attach the intervention, in training, for the length of a `with` block."""
    edit.train()
    try:
        with edit.attach(lm):
            yield
    finally:
        edit.eval()


@contextmanager
def _kept_on_error(state: TrainingState, edit: Intervention, lm: Decoder, run: RunDir) -> Iterator[None]:
    """Keep what has been learnt, and the state to go on from where it was not the state that failed."""
    try:
        yield
    except KeyboardInterrupt:
        if state.is_whole:
            state.save(run)
        edit.save(run.path, lm)
        raise
    except RunError as error:
        edit.save(run.path, lm)
        raise RunError(f"{error}; the last good state is in {run.path / FILE_NAME}")
