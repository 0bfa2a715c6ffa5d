"""The steps of training: AdamW on an intervention's parameters."""

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from lofit_cli.console import say
from lofit_cli.errors import RunError
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.schema.components import TrainerConfig
from lofit_cli.sharing import add_up


class Descent:
    """AdamW on an edit's parameters, with a penalty, a clipped gradient and a rate that falls linearly to 0."""

    def __init__(self, edit: Intervention, trainer: TrainerConfig, num_steps: int) -> None:
        self.edit, self.trainer = edit, trainer
        by_rate: dict[float, list[nn.Parameter]] = {}
        for parameter in edit.parameters():
            by_rate.setdefault(trainer.learning_rate * edit.rate_of(parameter), []).append(parameter)
        self.parameters = [parameter for group in by_rate.values() for parameter in group]
        groups = [{"params": group, "lr": rate} for rate, group in by_rate.items()]
        self.optimizer = AdamW(groups, lr=trainer.learning_rate, weight_decay=trainer.weight_decay)
        self.schedule = LambdaLR(self.optimizer, lambda step: 1 - step / num_steps)

    def find_gradient(self, find_loss: Callable[[], float]) -> dict[str, float]:
        """Give the parameters a batch's gradient, and return what the history says of it.

        Args:
            find_loss: returns the batch's loss, or this process's part of it, and adds its gradient to the parameters'.

        Raises:
            RunError: the loss or its gradient is not finite, or no gradient reaches the parameters.
        """
        self.optimizer.zero_grad()
        return self.take_gradient(find_loss())

    def take_gradient(self, found: float) -> dict[str, float]:
        """Take what the parameters have for the gradient of a batch, or this process's part of it.

        Args:
            found: the loss that it belongs to.

        Raises:
            RunError: as for `find_gradient`.
        """
        task_loss = self._add_up(found)
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
        return {"step": step, "loss": loss, "task_loss": task_loss, "gradient_norm": norm, "learning_rate": rate}

    def _add_up(self, loss: float) -> float:
        """Return the loss of all processes together, and give the parameters the gradient of all."""
        reached = [float(parameter.grad is not None) for parameter in self.parameters]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        total, *reached = add_up([loss, *reached], gradients)
        for parameter, gradient, by in zip(self.parameters, gradients, reached, strict=True):
            parameter.grad = gradient if by else None
        return total

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

    def move(self) -> None:
        """Take a step along the gradient."""
        self.optimizer.step()
        self.schedule.step()

    def _penalty(self) -> float:
        """Add the gradient of the L1 penalty and of the edit's own, and return their value."""
        penalties = [self.edit.penalty(self.schedule.last_epoch)]
        if self.trainer.l1:
            penalties.append(self.trainer.l1 * torch.stack([values.abs().sum() for values in self.parameters]).sum())
        found = [penalty for penalty in penalties if penalty is not None]
        for penalty in found:
            penalty.backward()
        return float(sum(penalty.detach() for penalty in found))
