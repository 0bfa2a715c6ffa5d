"""Several edits of heads at once, each on a copy of its own of the row under way."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

from lofit_cli.interventions.head_edit import HeadEdit, edited
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.hooks import Hook, hooked_input


@contextmanager
def attached_side_by_side(edits: Sequence[HeadEdit], lm: Decoder) -> Iterator[None]:
    """Give each edit a copy of the row inside a `with` block; the layers below the lowest of them run once for all.

    Args:
        edits: of the same parts, scale or offset or both, and the same positions; their heads may differ.
    """
    lowest = min(edit.num_untouched_layers() for edit in edits)
    with ExitStack() as stack:
        stack.enter_context(hooked_input(lm.layers[lowest], lambda hidden: hidden.expand(len(edits), -1, -1)))
        for layer, projection in lm.output_projections.items():
            if any(edit.head_mask[layer].any() for edit in edits):
                stack.enter_context(hooked_input(projection, _hook(edits, lm, layer)))
        yield


def _hook(edits: Sequence[HeadEdit], lm: Decoder, layer: int) -> Hook:
    spreaders = [edit.spreader(layer) for edit in edits]

    def spread(parts: Sequence[Tensor | None], activations: Tensor) -> Tensor | None:
        values = [put(part, activations) for put, part in zip(spreaders, parts, strict=True) if part is not None]
        return torch.stack(values)[:, None] if values else None

    def edit(activations: Tensor) -> Tensor:
        scale = spread([edit.scale for edit in edits], activations)
        offset = spread([edit.offset for edit in edits], activations)
        return edited(lm, activations, scale, offset, edits[0].positions)

    return edit
