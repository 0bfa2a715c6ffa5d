"""Tensor parallelism: of each layer every process holds some of the heads, and all compute each forward pass together.

The heads of process `r` of `n` are `r * heads / n` up to `(r + 1) * heads / n`, because transformers gives each
process that part of the rows of the query, key and value projections, and of the columns of the output projection.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from lofit_cli.errors import UserError
from lofit_cli.processes import num_processes, process_number
from lofit_cli.schema.sources import ModelConfig


def num_parts(model: PreTrainedModel) -> int:
    """Return over how many processes a model's layers are split; 1 where each process has all of it."""
    return getattr(model, "tp_size", None) or 1


def refuse_uneven_split(asked: ModelConfig, architecture: PreTrainedConfig) -> None:
    """Refuse to split a model whose family transformers has no plan for, or whose heads do not come out even.

    Raises:
        UserError: it is such a model.
    """
    if not asked.tp:
        return
    config = architecture.get_text_config(decoder=True)
    if not config.base_model_tp_plan:
        raise UserError(
            f"model.tp=auto is not for models of type '{config.model_type}', which transformers has no plan for; leave "
            "it out, or take model.device_map=auto in one process"
        )
    num_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    if num_heads % num_processes():
        raise UserError(
            f"model.tp=auto gives each process as many of the {num_heads} key and value heads of '{asked.id}', "
            f"which {num_processes()} processes can't share evenly; start another number of them"
        )


def own_part(values: Tensor, width: int) -> Tensor:
    """Return what this process needs of the numbers of all heads of a layer: those of its own heads.

    Args:
        values: (heads * head_dim,), the same in each process; their gradient is too.
        width: how many numbers this process's heads have.
    """
    if len(values) == width:
        return values
    part: Tensor = _OwnPart.apply(values, width)  # type: ignore[no-untyped-call]
    return part


class _OwnPart(torch.autograd.Function):
    """A process's part of a vector; the gradient is put together from all parts."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, width: int) -> Tensor:
        ctx.num_values, ctx.start = len(values), process_number() * width
        return values[ctx.start : ctx.start + width].clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        whole = gradient.new_zeros(ctx.num_values)
        whole[ctx.start : ctx.start + len(gradient)] = gradient
        dist.all_reduce(whole)
        return whole, None


def every_head(activations: Tensor, width: int) -> Tensor:
    """Return the activations (..., heads * head_dim) of all heads of a layer from those of each process's own.

    Args:
        width: how many numbers all heads have.
    """
    if activations.shape[-1] == width:
        return activations
    parts = [torch.empty_like(activations) for _ in range(num_processes())]
    dist.all_gather(parts, activations.contiguous())
    return torch.cat(parts, dim=-1)
