"""What every edit of a frozen model offers: it is attached in a `with` block, counted, saved and loaded."""

import json
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from lofit_cli.artifacts.tensors import write_tensors
from lofit_cli.errors import UserError
from lofit_cli.models.decoder import Decoder
from lofit_cli.prompts import NOTHING, Prompt

KIND = "intervention"
FILE_NAME = "intervention.safetensors"


class Intervention(nn.Module, ABC):
    """Numbers that change what a frozen model does, and where they apply; its parameters are what training changes.

    Attributes:
        kind: the name under which files of this class are known.
        demonstrations: what goes before every prompt.
        edits_parts: whether it can edit a model of which each process has a part.
        runs_beside: whether it has forward passes of its own beside the model's.
        sign: -1 while it acts in the direction that is to make right answers less likely.
        signs: the directions that the step of training under way goes in, or a look at the validation split.
        pair_loss: what pairs of answers are trained by: `dpo` or `reps`.
    """

    kind: ClassVar[str]
    demonstrations: Prompt = NOTHING
    edits_parts: ClassVar[bool] = False
    runs_beside: ClassVar[bool] = False
    sign: int = 1
    signs: tuple[int, ...] = (1,)
    pair_loss: ClassVar[str] = "dpo"

    @abstractmethod
    def attach(self, lm: Decoder) -> AbstractContextManager[None]:
        """Edit the model inside a `with` block; gradients reach the parameters, and nothing is left behind."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return what, besides its tensors, is needed to make it again, as JSON can hold it."""

    def num_untouched_layers(self) -> int:
        """Return how many of the lowest layers give what they give without it, whatever its numbers."""
        return 0

    def redraw(self, generator: torch.Generator) -> None:
        """Draw what is random in the next step of training; nothing by default."""

    def rate_of(self, parameter: nn.Parameter) -> float:
        """Return a parameter's learning rate in units of the trainer's."""
        return 1.0

    def penalty(self, step: int) -> Tensor | None:
        """Return what training adds to the loss of a step, from 0; None for nothing."""
        return None

    @classmethod
    @abstractmethod
    def restore(cls, lm: Decoder, settings: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        """Make it again from what was saved."""

    def placed(self, lm: Decoder) -> Self:
        """Return itself, its numbers where the model takes its inputs; each goes from there to the layer it acts on."""
        return self.to(lm.device)

    def tensors(self) -> dict[str, Tensor]:
        """Return what is saved of it."""
        return dict(self.state_dict())

    def save(self, folder: Path, lm: Decoder) -> None:
        """Write `intervention.safetensors` into a folder."""
        made = {"class": self.kind, "settings": json.dumps(self.settings())}
        write_tensors(folder / FILE_NAME, KIND, self.tensors(), {**made, "model_id": lm.id, **lm.geometry.metadata()})

    @property
    def num_parameters(self) -> int:
        """Return how many trainable parameters it has."""
        return sum(parameter.numel() for parameter in self.parameters())


def class_of(kind: object) -> type[Intervention]:
    """Return the class of interventions that states this kind.

    Raises:
        UserError: there is none.
    """
    waiting = Intervention.__subclasses__()
    while waiting:
        found = waiting.pop()
        if kind is not None and vars(found).get("kind") == kind:
            return found
        waiting += found.__subclasses__()
    raise UserError(f"its class is {str(kind)[:60]!r}, which is no kind of intervention that is known here")
