"""Where the jobs are done: a model, a task, and how much of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor

from lofit_cli.artifacts.head_mask import select_top
from lofit_cli.errors import UserError
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.models.load import load_model
from lofit_cli.schema.sources import ModelConfig, TaskConfig
from lofit_cli.tasks import load_task
from lofit_cli.tasks.task import Task

Element = TypeVar("Element")
PROTOCOL = "iti"
SEED = 42
NUM_HEADS = 8


@cache
def _load(data_dir: str | None) -> Task[Any]:
    return load_task(TaskConfig("truthfulqa", data_dir=data_dir) if data_dir else TaskConfig("misconceptions"))


@dataclass(frozen=True)
class Settings:
    """What is measured, and of how much.

    Attributes:
        questions, lm_eval_questions: sizes of the scoring jobs, beside one forward pass an answer and beside lm-eval.
        pairs: how many training pairs the training jobs have.
        heads: (layer, head) that offsets are trained on; empty for those that `selector=random` draws.
        peer_share: which share of a scoring job's questions the peer does; its time is scaled by their tokens.
    """

    model: str
    data_dir: str | None
    questions: tuple[int, ...]
    lm_eval_questions: tuple[int, ...]
    pairs: int
    heads: tuple[tuple[int, int], ...]
    peer_share: float

    def task(self, **changes: Any) -> Task[Any]:
        """Return TruthfulQA's fold 0, or the bundled questions, under these settings of a task."""
        loaded = _load(self.data_dir)
        return replace(loaded, config=replace(loaded.config, **changes))


@dataclass(frozen=True)
class Place:
    """A loaded model and the settings of what is done with it."""

    lm: LanguageModel
    settings: Settings
    dtype: str

    @classmethod
    def open(cls, settings: Settings, dtype: str) -> "Place":
        """Load the model in a dtype, on the CPU."""
        return cls(load_model(ModelConfig(settings.model, dtype=dtype, device="cpu")), settings, dtype)

    def questions(self, count: int) -> list[tuple[str, tuple[str, ...]]]:
        """Return test questions, spread over the split, as prompts with their answers."""
        task = self.settings.task()
        items = task.items("test")
        if count > len(items):
            raise UserError(f"--questions {count} is more than the {len(items)} test questions; ask for fewer")
        chosen = spread(items, count)
        return [(self.lm.prompt_text(task.prompt(item, PROTOCOL)), task.answers(item)) for item in chosen]

    def every_head(self) -> Tensor:
        """Return the mask of all heads."""
        return self.lm.geometry.every_head()

    def heads(self, are_late: bool = False) -> Tensor:
        """Return the mask of the heads that are edited: (num_layers, max_heads) bool.

        Args:
            are_late: only heads of the last third of the layers.
        """
        geometry = self.lm.geometry
        if self.settings.heads and not are_late:
            return self._named_heads()
        scores = torch.rand(geometry.num_layers, geometry.max_heads, generator=torch.Generator().manual_seed(SEED))
        allowed = geometry.every_head()
        if are_late:
            allowed[: -(-2 * geometry.num_layers // 3)] = False
        return select_top(scores.masked_fill(~allowed, -torch.inf), min(NUM_HEADS, int(allowed.sum())))

    def _named_heads(self) -> Tensor:
        mask = torch.zeros_like(every := self.lm.geometry.every_head())
        for layer, head in self.settings.heads:
            if layer >= every.shape[0] or head >= every.shape[1]:
                raise UserError(f"--heads {layer}.{head} is no head of {self.lm.geometry}; name others as LAYER.HEAD")
            mask[layer, head] = True
        return mask


def spread(items: Sequence[Element], count: int) -> list[Element]:
    """Return so many items, as far apart in their list as can be."""
    return [items[i * len(items) // count] for i in range(count)]
