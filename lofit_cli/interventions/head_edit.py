"""LoFiT's edit: attention head activations are scaled and offset at the input of the output projection."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lofit_cli.artifacts.geometry import Geometry
from lofit_cli.errors import UserError
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.interventions.saved import require_settings, require_tensors
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.hooks import Hook, hooked_input
from lofit_cli.models.positions import POSITIONS
from lofit_cli.models.tensor_parallel import own_part
from lofit_cli.schema.checks import one_of


class HeadEdit(Intervention):
    """The map `z <- (1 + scale) * z + offset` on the activations of some heads.

    Attributes:
        head_mask: (num_layers, max_heads) bool, the heads that are edited.
        own_numbers: (num_heads, head_dim) bool, which numbers of a row the head has; the others are 0 and stay 0.
        scale: (num_heads, head_dim) float32, in the order of the mask's layers and heads, or None.
        offset: the same shape, or None.
        positions: one of `POSITIONS`.

    Source: LoFiT (arXiv 2406.01563), section 3.
    """

    kind = "head_edit"
    edits_parts = True
    head_mask: Tensor
    own_numbers: Tensor

    def __init__(
        self,
        geometry: Geometry,
        head_mask: Tensor,
        scale: Tensor | None = None,
        offset: Tensor | None = None,
        positions: str = "all",
    ) -> None:
        super().__init__()
        self.geometry = geometry
        self.register_buffer("head_mask", head_mask.bool())
        self.register_buffer("own_numbers", geometry.own_numbers(self.head_mask), persistent=False)
        self.scale = None if scale is None else nn.Parameter(scale.masked_fill(~self.own_numbers, 0))
        self.offset = None if offset is None else nn.Parameter(offset.masked_fill(~self.own_numbers, 0))
        one_of("positions", positions, POSITIONS)
        self.positions = positions

    @property
    def heads(self) -> list[tuple[int, int]]:
        """Return (layer, head) of each edited head, in the order of its numbers."""
        return [(layer, head) for layer, head in self.head_mask.nonzero().tolist()]

    @property
    def num_parameters(self) -> int:
        """Return how many trainable parameters it has, empty numbers of small heads not counted."""
        return int(self.own_numbers.sum()) * len(list(self.parameters()))

    @contextmanager
    def attach(self, lm: Decoder) -> Iterator[None]:
        """Edit the input of each output projection that has a head of the mask; no gradient flows below the first."""
        with ExitStack() as stack:
            for layer in self.head_mask.any(dim=1).nonzero().flatten().tolist():
                stack.enter_context(hooked_input(lm.output_projections[layer], self._hook(lm, layer)))
            yield

    def acting(self) -> tuple[Tensor | None, Tensor | None]:
        """Return the scale and the offset that act now, each (num_heads, head_dim) or None."""
        return self.scale, self.offset

    def _hook(self, lm: Decoder, layer: int) -> Hook:
        spread = self.spreader(layer)

        def edit(activations: Tensor) -> Tensor:
            scale, offset = (None if part is None else spread(part, activations) for part in self.acting())
            return edited(lm, activations, scale, offset, self.positions)

        return edit

    def spreader(self, layer: int) -> Callable[[Tensor, Tensor], Tensor]:
        """Return what spreads this edit's numbers over all heads of a layer, with 0 at those that it does not edit.

        It takes (num_heads, head_dim) numbers and the activations, (..., layer's heads * head_dim), that they go with.
        """
        # Found once, because on a GPU to look for the selected heads waits for all that is under way.
        heads, first = self.head_mask[layer].nonzero().flatten(), int(self.head_mask[:layer].sum())
        num_heads, head_dim = self.geometry.heads_per_layer[layer], self.geometry.head_dims[layer]

        def spread(values: Tensor, activations: Tensor) -> Tensor:
            full = _spread(values[first : first + len(heads), :head_dim], heads, num_heads)
            return own_part(full, activations.shape[-1]).to(activations.device)

        return spread

    def num_untouched_layers(self) -> int:
        """Return how many layers are below the first that has a head of the mask."""
        return int(self.head_mask.any(dim=1).nonzero()[0])

    def settings(self) -> dict[str, Any]:
        """Return the positions."""
        return {"positions": self.positions}

    @classmethod
    def restore(cls, lm: Decoder, settings: dict[str, Any], tensors: dict[str, Tensor]) -> "HeadEdit":
        """Make it again, refusing tensors that do not fit the mask or the model."""
        require_settings(settings, positions=str)
        head_mask = tensors.get("head_mask", torch.empty(0))
        parts = [name for name in ("scale", "offset") if name in tensors]
        every_head = lm.geometry.every_head()
        if head_mask.dtype != torch.bool or head_mask.shape != every_head.shape or not parts:
            raise UserError("it has no head mask of this model, or neither a scale nor an offset; train it again")
        if not head_mask.any():
            raise UserError("its head mask selects no head; train it again")
        shape = int(head_mask.sum()), lm.geometry.head_dim
        if (head_mask & ~every_head).any() or any(tensors[name].shape[:1] != shape[:1] for name in parts):
            raise UserError("its numbers do not match its own head mask; train it again")
        values = require_tensors({n: t for n, t in tensors.items() if n != "head_mask"}, dict.fromkeys(parts, shape))
        return cls(lm.geometry, head_mask, values.get("scale"), values.get("offset"), **settings)


def edited(lm: Decoder, activations: Tensor, scale: Tensor | None, offset: Tensor | None, positions: str) -> Tensor:
    """Return `(1 + scale) * activations + offset` at some token positions, and the activations elsewhere."""
    # In float32, because 1 + 0.001 is 1 in bfloat16.
    before = activations.float()
    after = before if scale is None else before * (1 + scale)
    after = after if offset is None else after + offset
    if positions != "all":
        where = lm.token_positions.read(after.device).at(positions)
        after = torch.where(where[..., None], after, before)
    return after.to(activations.dtype)


def _spread(values: Tensor, heads: Tensor, num_heads: int) -> Tensor:
    """Return (num_heads * head_dim,), a layer's, with a row of `values` at each of some heads and 0 elsewhere."""
    full = torch.zeros(num_heads, values.shape[-1], dtype=values.dtype, device=values.device)
    return full.index_put((heads,), values).flatten()
