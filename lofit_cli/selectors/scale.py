"""LoFiT's first step: learn a scale on every head and see whose grew."""

from typing import Any

import torch
from torch import Tensor

from lofit_cli.artifacts.files import write_tensors
from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.models.logprobs import LanguageModel
from lofit_cli.schema import SelectHeadsConfig
from lofit_cli.tasks.task import Task
from lofit_cli.training.fit import Fit


def score_heads_by_scale(lm: LanguageModel, task: Task[Any], config: SelectHeadsConfig, run: RunDir) -> Tensor:
    """Train a scale on all heads, with an L1 penalty, and return each head's score: (num_layers, num_heads)."""
    geometry = lm.geometry
    generator = torch.Generator().manual_seed(config.seed)
    start = config.trainer.init_std * torch.randn(geometry.num_all_heads, geometry.head_dim, generator=generator)
    everywhere = torch.ones(geometry.num_layers, geometry.num_heads)
    edit = HeadEdit(everywhere, scale=start).to(lm.model.device)
    run.record(num_trained_parameters=edit.num_parameters)
    Fit(lm, task, config.trainer, config.eval, edit, run, config.seed).train()
    scale = next(edit.parameters()).detach().cpu().view(geometry.num_layers, geometry.num_heads, geometry.head_dim)
    write_tensors(run.path / "scale.safetensors", "scale", {"scale": scale}, geometry.metadata())
    return score_heads(scale)


def score_heads(scale: Tensor) -> Tensor:
    """Return how much each head was used: the L2 norm of its learned scale.

    Args:
        scale: (num_layers, num_heads, head_dim), added to 1 in the forward pass.

    Returns:
        (num_layers, num_heads), non-negative.

    Source: LoFiT (arXiv 2406.01563), section 3.
    """
    scores: Tensor = scale.norm(dim=-1)
    return scores
