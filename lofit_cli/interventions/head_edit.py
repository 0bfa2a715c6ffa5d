"""LoFiT's edit: attention head activations are scaled and offset at the input of the output projection."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class HeadEdit:
    """The map `z <- (1 + scale) * z + offset` on head activations, at every position; an empty edit does nothing.

    Attributes:
        scale: (num_layers, num_heads, head_dim), 0 where a head is left alone.
        offset: the same shape, 0 outside the head mask.
        layers: the layers to edit, all by default; below the first one no gradient needs to flow.

    Source: LoFiT (arXiv 2406.01563), section 3.
    """

    scale: Tensor | None = None
    offset: Tensor | None = None
    layers: Sequence[int] | None = None

    @contextmanager
    def attach(self, output_projections: Sequence[nn.Module]) -> Iterator[None]:
        """Edit the input of each layer's output projection inside a `with` block; gradients reach scale and offset."""
        if self.scale is None and self.offset is None:
            yield
            return
        with ExitStack() as stack:
            for layer in range(len(output_projections)) if self.layers is None else self.layers:
                scale, offset = (None if v is None else v[layer].flatten() for v in (self.scale, self.offset))
                handle = output_projections[layer].register_forward_pre_hook(_edit_input(scale, offset))
                stack.callback(handle.remove)
            yield


def offset_edit(offset: Tensor, head_mask: Tensor) -> HeadEdit:
    """Return the edit that adds `offset` (num_layers, num_heads, head_dim), hooked only where the mask keeps a head."""
    return HeadEdit(offset=offset, layers=head_mask.any(dim=1).nonzero().flatten().tolist())


def _edit_input(scale: Tensor | None, offset: Tensor | None) -> Any:
    def edit(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        # In float32, because 1 + 0.001 is 1 in bfloat16.
        activation = args[0].float()
        if scale is not None:
            activation = activation * (1 + scale)
        if offset is not None:
            activation = activation + offset
        return (activation.to(args[0].dtype), *args[1:])

    return edit


def scatter_heads(values: Tensor, head_mask: Tensor) -> Tensor:
    """Return (num_layers, num_heads, head_dim) with `values` (num_kept_heads, head_dim) at the heads of the mask."""
    full = torch.zeros(*head_mask.shape, values.shape[-1], dtype=values.dtype, device=values.device)
    return full.index_put(head_mask.nonzero(as_tuple=True), values)
