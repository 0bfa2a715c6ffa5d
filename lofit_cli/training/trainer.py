"""The one training loop: DPO or SFT of the numbers of an intervention on a frozen model."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.artifacts.seen_items import add_seen
from lofit_cli.console import progress_bar, say
from lofit_cli.errors import RunError
from lofit_cli.evaluation.measure import mean_metrics, measure_split, require_fit
from lofit_cli.interventions.intervention import FILE_NAME, Intervention
from lofit_cli.models.decoder import Decoder
from lofit_cli.schema.components import TrainerConfig
from lofit_cli.schema.stages import SelectHeadsConfig, TrainOffsetsConfig
from lofit_cli.tasks.task import Task
from lofit_cli.training.objective import Objective, TrainingItem

SEEN_SPLITS = ("train", "validation")


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
    run.record_settings(trainer=asdict(trainer))
    if not task.generates:
        # Validation asks under a longer prompt than training; an epoch is a long time to wait for its refusal.
        require_fit(lm, task, "validation", config.eval.protocol)
    objective = Objective(lm, task, trainer.beta)
    items, validation = objective.prepare("train"), objective.prepare("validation")
    total = -(-len(items) // trainer.batch_size) * trainer.num_epochs
    descent = _Descent(edit, trainer, total)
    shuffle = torch.Generator().manual_seed(config.seed)
    best: list[Tensor] | None = None
    best_loss = math.inf
    with progress_bar("training", total) as advance, _saved_on_error(edit, lm, run), _in_training(edit, lm):
        for epoch in range(1, trainer.num_epochs + 1):
            for batch in _shuffled_batches(items, trainer.batch_size, shuffle):
                step = descent.step(objective, batch)
                run.append_line("history.jsonl", {"epoch": epoch, **step})
                advance(1, f"loss {step['loss']:.3f}")
            if epoch % trainer.validate_every and epoch != trainer.num_epochs:
                continue
            loss = _validate(edit, objective, validation, config.eval.protocol)
            run.append_line("validation.jsonl", {"epoch": epoch, **loss})
            if trainer.keep == "best" and loss["loss"] < best_loss:
                best, best_loss = [parameter.detach().clone() for parameter in edit.parameters()], loss["loss"]
    if best is not None:
        for parameter, value in zip(edit.parameters(), best, strict=True):
            parameter.data.copy_(value)


class _Descent:
    """AdamW on an edit's parameters, with a penalty, a clipped gradient and a rate that falls linearly to 0."""

    def __init__(self, edit: Intervention, trainer: TrainerConfig, num_steps: int) -> None:
        self.parameters = list(edit.parameters())
        self.trainer = trainer
        self.optimizer = AdamW(self.parameters, lr=trainer.learning_rate, weight_decay=trainer.weight_decay)
        self.schedule = LambdaLR(self.optimizer, lambda step: 1 - step / num_steps)

    def step(self, objective: Objective, batch: Sequence[TrainingItem]) -> dict[str, float]:
        """Take one step and return what the history says of it.

        Raises:
            RunError: the loss or its gradient is not finite; no step was taken.
        """
        start = time.perf_counter()
        self.optimizer.zero_grad()
        task_loss = objective.loss(batch, backward=True)
        if self.schedule.last_epoch == 0:
            self._require_gradients()
        loss = task_loss + self._penalty()
        norm = float(clip_grad_norm_(self.parameters, self.trainer.max_grad_norm))
        step, rate = self.schedule.last_epoch + 1, float(self.schedule.get_last_lr()[0])
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise RunError(
                f"training is no longer finite at step {step} (loss {loss}, gradient norm {norm}); "
                f"lower trainer.learning_rate={self.trainer.learning_rate}"
            )
        self.optimizer.step()
        self.schedule.step()
        num_tokens = sum(len(sequence.tokens) for item in batch for sequence in item.sequences)
        return {
            "step": step,
            "loss": loss,
            "task_loss": task_loss,
            "gradient_norm": norm,
            "learning_rate": rate,
            "tokens_per_second": round(num_tokens / (time.perf_counter() - start), 1),
        }

    def _require_gradients(self) -> None:
        """Refuse to train what no gradient reaches, and tell of parts that none reaches: they stay as they are."""
        num_without, num_all = sum(parameter.grad is None for parameter in self.parameters), len(self.parameters)
        if 0 < num_without < num_all:
            say(f"note: no gradient reaches {num_without} of the {num_all} trained tensors, which stay as they are")
        if num_without == num_all:
            raise RunError(
                "no gradient reaches the trained numbers through this base model; set model.quantization=none, another "
                "model.quantization or another model.id"
            )

    def _penalty(self) -> float:
        """Add the gradient of the L1 penalty and return its value."""
        if not self.trainer.l1:
            return 0.0
        penalty = self.trainer.l1 * torch.stack([parameter.abs().sum() for parameter in self.parameters]).sum()
        penalty.backward()
        return float(penalty.detach())


def _shuffled_batches(
    items: Sequence[TrainingItem], batch_size: int, shuffle: torch.Generator
) -> Iterator[list[TrainingItem]]:
    order = torch.randperm(len(items), generator=shuffle).tolist()
    for first in range(0, len(items), batch_size):
        yield [items[i] for i in order[first : first + batch_size]]


def _validate(
    edit: Intervention, objective: Objective, items: Sequence[TrainingItem], protocol: str
) -> dict[str, float]:
    """Return the validation split's loss, and its metrics where no text has to be generated."""
    metrics: dict[str, float] = {}
    edit.eval()
    with torch.no_grad():
        loss = objective.loss(items)
        if not objective.task.generates:
            metrics = mean_metrics(measure_split(objective.lm, objective.task, "validation", protocol))
    edit.train()
    return {"loss": loss, **metrics}


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
def _saved_on_error(edit: Intervention, lm: Decoder, run: RunDir) -> Iterator[None]:
    """Keep what has been learnt; the manifest will say that the run did not finish."""
    try:
        yield
    except (KeyboardInterrupt, RunError) as error:
        edit.save(run.path, lm)
        if isinstance(error, RunError):
            raise RunError(f"{error}; the last good state is in {run.path / FILE_NAME}")
        raise
