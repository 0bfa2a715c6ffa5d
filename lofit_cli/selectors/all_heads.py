"""Training every head at once, which is how LoFiT ranks them: by a scale, or by an offset."""

from typing import Any, Literal

import torch
from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.stages import SelectHeadsConfig
from lofit_cli.tasks.task import Task
from lofit_cli.training.trainer import Fit


def train_all_heads(
    part: Literal["scale", "offset"], lm: LanguageModel, task: Task[Any], config: SelectHeadsConfig, run: RunDir
) -> Tensor:
    """Train the `scale` or the `offset` of every head, from small random numbers by the seed.

    Returns:
        (num_layers, heads_per_layer, head_dim), on the CPU.
    """
    generator = torch.Generator().manual_seed(config.seed)
    shape = lm.geometry.total_heads, lm.geometry.head_dim
    start = config.trainer.init_std * torch.randn(*shape, generator=generator)
    every_head = torch.ones(lm.geometry.num_layers, lm.geometry.heads_per_layer)
    edit = HeadEdit(every_head, scale=start) if part == "scale" else HeadEdit(every_head, offset=start)
    run.record(num_trained_parameters=edit.num_parameters)
    Fit(lm, task, config.trainer, config.eval, edit.to(lm.model.device), run, config.seed).train()
    (learnt,) = edit.parameters()
    return learnt.detach().cpu().view(lm.geometry.num_layers, lm.geometry.heads_per_layer, lm.geometry.head_dim)


def score_heads(values: Tensor) -> Tensor:
    """Return how much each head was used: the L2 norm of what it has learnt.

    Args:
        values: (num_layers, heads_per_layer, head_dim), a scale, which is added to 1 in the forward pass, or an offset.

    Returns:
        (num_layers, heads_per_layer), non-negative.

    Source: LoFiT (arXiv 2406.01563), section 3.
    """
    scores: Tensor = values.norm(dim=-1)
    return scores
