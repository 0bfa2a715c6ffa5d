"""Heads ranked by what every head learns when all learn at once: a scale (LoFiT's first step) or an offset."""

from typing import Any

import torch
from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.artifacts.tensors import write_tensors
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.stages import SelectHeadsConfig
from lofit_cli.tasks.task import Task
from lofit_cli.training.fit import Fit


def score_heads_by_scale(lm: LanguageModel, task: Task[Any], config: SelectHeadsConfig, run: RunDir) -> Tensor:
    """Train a scale on all heads, with an L1 penalty, and return each head's score: (num_layers, num_heads).

    Source: LoFiT (arXiv 2406.01563), section 3.
    """
    scale = _train(HeadEdit(_every_head(lm), scale=_start(lm, config)), lm, task, config, run)
    write_tensors(run.path / "scale.safetensors", "scale", {"scale": scale}, lm.geometry.metadata())
    return score_heads(scale)


def score_heads_by_offset_norm(lm: LanguageModel, task: Task[Any], config: SelectHeadsConfig, run: RunDir) -> Tensor:
    """Train an offset on all heads and return each head's score: (num_layers, num_heads).

    Source: LoFiT (arXiv 2406.01563), section 5.2, "bias-based selection".
    """
    return score_heads(_train(HeadEdit(_every_head(lm), offset=_start(lm, config)), lm, task, config, run))


def score_heads(values: Tensor) -> Tensor:
    """Return how much each head was used: the L2 norm of what it has learnt.

    Args:
        values: (num_layers, num_heads, head_dim), a scale, which is added to 1 in the forward pass, or an offset.

    Returns:
        (num_layers, num_heads), non-negative.

    Source: LoFiT (arXiv 2406.01563), section 3.
    """
    scores: Tensor = values.norm(dim=-1)
    return scores


def _every_head(lm: LanguageModel) -> Tensor:
    return torch.ones(lm.geometry.num_layers, lm.geometry.num_heads)


def _start(lm: LanguageModel, config: SelectHeadsConfig) -> Tensor:
    """Return small random numbers for every head, by the seed: (num_all_heads, head_dim)."""
    generator = torch.Generator().manual_seed(config.seed)
    return config.trainer.init_std * torch.randn(lm.geometry.num_all_heads, lm.geometry.head_dim, generator=generator)


def _train(edit: HeadEdit, lm: LanguageModel, task: Task[Any], config: SelectHeadsConfig, run: RunDir) -> Tensor:
    """Train the numbers of every head and return them: (num_layers, num_heads, head_dim), on the CPU."""
    run.record(num_trained_parameters=edit.num_parameters)
    Fit(lm, task, config.trainer, config.eval, edit.to(lm.model.device), run, config.seed).train()
    (learnt,) = edit.parameters()
    return learnt.detach().cpu().view(lm.geometry.num_layers, lm.geometry.num_heads, lm.geometry.head_dim)
