"""LoFiT's edit: attention head activations are scaled and offset at the input of the output projection."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lofit_cli.errors import UserError
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.models.hooks import Hook, hooked_input
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.models.positions import POSITIONS
from lofit_cli.schema.checks import one_of


class HeadEdit(Intervention):
    """The map `z <- (1 + scale) * z + offset` on the activations of some heads.

    Attributes:
        head_mask: (num_layers, heads_per_layer) bool, the heads that are edited.
        scale: (num_heads, head_dim) float32, in the order of the mask's layers and heads, or None.
        offset: the same shape, or None.
        positions: one of `POSITIONS`.

    Source: LoFiT (arXiv 2406.01563), section 3.
    """

    kind = "head_edit"
    head_mask: Tensor

    def __init__(
        self, head_mask: Tensor, scale: Tensor | None = None, offset: Tensor | None = None, positions: str = "all"
    ) -> None:
        super().__init__()
        self.register_buffer("head_mask", head_mask.bool())
        self.scale = None if scale is None else nn.Parameter(scale)
        self.offset = None if offset is None else nn.Parameter(offset)
        one_of("positions", positions, POSITIONS)
        self.positions = positions

    @property
    def heads(self) -> list[tuple[int, int]]:
        """Return (layer, head) of each edited head, in the order of its numbers."""
        return [(layer, head) for layer, head in self.head_mask.nonzero().tolist()]

    @contextmanager
    def attach(self, lm: LanguageModel) -> Iterator[None]:
        """Edit the input of each output projection that has a head of the mask; no gradient flows below the first."""
        counts = self.head_mask.sum(dim=1).tolist()
        with ExitStack() as stack:
            first = 0
            for layer, count in enumerate(counts):
                if count:
                    hook = self._hook(lm, layer, slice(first, first + count))
                    stack.enter_context(hooked_input(lm.output_projections[layer], hook))
                first += count
            yield

    def _hook(self, lm: LanguageModel, layer: int, rows: slice) -> Hook:
        # Found once, because on a GPU to look for the selected heads waits for all that is under way.
        heads, heads_per_layer = self.head_mask[layer].nonzero().flatten(), self.head_mask.shape[1]

        def edit(activations: Tensor) -> Tensor:
            # In float32, because 1 + 0.001 is 1 in bfloat16.
            before = activations.float()
            after = before
            if self.scale is not None:
                after = after * (1 + _spread(self.scale[rows], heads, heads_per_layer))
            if self.offset is not None:
                after = after + _spread(self.offset[rows], heads, heads_per_layer)
            if self.positions != "all":
                after = torch.where(lm.places.read().predict_answers()[..., None], after, before)
            return after.to(activations.dtype)

        return edit

    def settings(self) -> dict[str, Any]:
        """Return the positions."""
        return {"positions": self.positions}

    @classmethod
    def restore(cls, lm: LanguageModel, settings: dict[str, Any], tensors: dict[str, Tensor]) -> "HeadEdit":
        """Make it again, refusing tensors that do not fit the mask or the model."""
        edit = cls(tensors["head_mask"], tensors.get("scale"), tensors.get("offset"), **settings)
        shape = (int(edit.head_mask.sum()), lm.geometry.head_dim)
        if tuple(edit.head_mask.shape) != (lm.geometry.num_layers, lm.geometry.heads_per_layer) or any(
            tuple(values.shape) != shape for values in edit.parameters()
        ):
            raise UserError("its numbers do not match its own head mask; train it again")
        return edit


def _spread(values: Tensor, heads: Tensor, heads_per_layer: int) -> Tensor:
    """Return (heads_per_layer * head_dim,) with `values` (num_heads, head_dim) at a layer's heads, 0 elsewhere."""
    full = torch.zeros(heads_per_layer, values.shape[-1], dtype=values.dtype, device=values.device)
    return full.index_put((heads,), values).flatten()
