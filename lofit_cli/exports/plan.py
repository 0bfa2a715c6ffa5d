"""How an edit will be exported, as a value."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Plan:
    """How an edit will be exported.

    Attributes:
        words: the form that was chosen, for people.
        kind: how `load_and_run` loads it.
        write: fills a folder, given the dtype of weights.
        model_type: the transformers model type of a checkpoint, None for what is added to the base.
        new_biases: the last part of the name of each map that has a bias which the base has not.
    """

    words: str
    kind: str
    write: Callable[[Path, torch.dtype], None]
    model_type: str | None = None
    new_biases: frozenset[str] = frozenset()
