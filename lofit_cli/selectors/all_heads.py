"""Training every head at once, which is how LoFiT ranks them: by a scale, or by an offset."""

from typing import Any, Literal

import torch
from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.stages import SelectHeadsConfig
from lofit_cli.tasks.task import Task
from lofit_cli.training.trainer import train


def train_all_heads(
    part: Literal["scale", "offset"], lm: LanguageModel, task: Task[Any], config: SelectHeadsConfig, run: RunDir
) -> Tensor:
    """Train the `scale` or the `offset` of every head, from small random numbers by the seed.

    Returns:
        (num_layers, max_heads, head_dim), on the CPU.
    """
    generator = torch.Generator().manual_seed(config.seed)
    geometry, every_head = lm.geometry, lm.geometry.every_head()
    start = config.trainer.init_std * torch.randn(geometry.total_heads, geometry.head_dim, generator=generator)
    scale, offset = (start, None) if part == "scale" else (None, start)
    edit = HeadEdit(geometry, every_head, scale, offset)
    run.record(num_trained_parameters=edit.num_parameters)
    train(edit.to(lm.model.device), lm, task, config, run)
    (learnt,) = edit.parameters()
    values = torch.zeros(*every_head.shape, geometry.head_dim)
    values[every_head] = learnt.detach().cpu()
    return values


def score_heads(values: Tensor) -> Tensor:
    """Return how much each head was used: the L2 norm of what it has learnt.

    Args:
        values: (num_layers, max_heads, head_dim), a scale, which is added to 1 in the forward pass, or an offset.

    Returns:
        (num_layers, max_heads), non-negative.

    Source: LoFiT (arXiv 2406.01563), section 3.
    """
    scores: Tensor = values.norm(dim=-1)
    return scores
