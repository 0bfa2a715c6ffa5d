"""An edit of every head, which is how LoFiT ranks them: by the scale or the offset that each learns."""

from typing import Literal

import torch
from torch import Tensor

from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.stages import SelectHeadsConfig


def edit_every_head(part: Literal["scale", "offset"], lm: LanguageModel, config: SelectHeadsConfig) -> HeadEdit:
    """Return an edit of the `scale` or the `offset` of every head, from small random numbers by the seed."""
    generator = torch.Generator().manual_seed(config.seed)
    geometry = lm.geometry
    start = config.trainer.init_std * torch.randn(geometry.total_heads, geometry.head_dim, generator=generator)
    scale, offset = (start, None) if part == "scale" else (None, start)
    return HeadEdit(geometry, geometry.every_head(), scale, offset).to(lm.device)


def learnt_values(edit: HeadEdit) -> Tensor:
    """Return what an edit of every head has learnt: (num_layers, max_heads, head_dim), on the CPU."""
    (learnt,) = edit.parameters()
    every_head = edit.geometry.every_head()
    values = torch.zeros(*every_head.shape, edit.geometry.head_dim)
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
