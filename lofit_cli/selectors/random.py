"""Heads drawn uniformly: the control that every selector has to beat."""

from typing import Any

import torch
from torch import Tensor

from lofit_cli.artifacts.geometry import Geometry
from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.stages import SelectHeadsConfig
from lofit_cli.tasks.task import Task


def score_heads_at_random(lm: LanguageModel, task: Task[Any], config: SelectHeadsConfig, run: RunDir) -> Tensor:
    """Return uniform scores in [0, 1) that depend on the seed alone: (num_layers, max_heads)."""
    generator = torch.Generator().manual_seed(config.seed)
    return torch.rand(lm.geometry.num_layers, lm.geometry.max_heads, generator=generator)


def draw_scores(geometry: Geometry, num_draws: int, seed: int) -> Tensor:
    """Return uniform scores for each draw, (num_draws, num_layers, max_heads); minus infinity where no head is."""
    generator = torch.Generator().manual_seed(seed)
    # The first is what `selector=random` selects with this seed.
    scores = torch.rand(1 + num_draws, geometry.num_layers, geometry.max_heads, generator=generator)[1:]
    return scores.masked_fill(~geometry.every_head(), -torch.inf)
