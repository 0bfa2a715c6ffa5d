"""ZeroTuning: some heads attend more, or less, to the first token of the text."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lofit_cli.artifacts.geometry import Geometry
from lofit_cli.errors import UserError
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.interventions.saved import require_settings, require_tensors
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.first_token import biased_first_token


class SinkEdit(Intervention):
    """A head's attention to the first token is multiplied by gamma, and all of its attention divided by their sum.

    The same is to add log(gamma) to the score of the first token before the softmax. Beyond the reach of a sliding
    window there is no first token, and nothing changes.

    Attributes:
        head_mask: (num_layers, max_heads) bool, the heads that are edited.
        log_gamma: (num_heads,) float32, in the order of the mask's layers and heads.

    Source: ZeroTuning (arXiv 2505.11739) and its released code, which multiplies and divides.
    """

    kind = "sink_edit"
    head_mask: Tensor

    def __init__(self, geometry: Geometry, head_mask: Tensor, log_gamma: Tensor) -> None:
        super().__init__()
        self.geometry = geometry
        self.register_buffer("head_mask", head_mask.bool())
        self.log_gamma = nn.Parameter(log_gamma)

    @contextmanager
    def attach(self, lm: Decoder) -> Iterator[None]:
        """Add to the scores of the first token in each layer that has a head of the mask."""
        layers = self.head_mask.any(dim=1).nonzero().flatten().tolist()
        with biased_first_token(lm, {layer: self._bias(layer) for layer in layers}):
            yield

    def _bias(self, layer: int) -> Any:
        heads, first = self.head_mask[layer].nonzero().flatten(), int(self.head_mask[:layer].sum())
        return partial(self._spread, layer, heads, first)

    def _spread(self, layer: int, heads: Tensor, first: int, device: torch.device) -> Tensor:
        own = self.log_gamma[first : first + len(heads)]
        zeros = torch.zeros(self.geometry.heads_per_layer[layer], device=own.device)
        return zeros.index_put((heads,), own).to(device)

    def num_untouched_layers(self) -> int:
        """Return how many layers are below the first that has a head of the mask."""
        return int(self.head_mask.any(dim=1).nonzero()[0])

    def settings(self) -> dict[str, Any]:
        """Return none: its tensors are all there is."""
        return {}

    @classmethod
    def restore(cls, lm: Decoder, settings: dict[str, Any], tensors: dict[str, Tensor]) -> "SinkEdit":
        """Make it again, refusing tensors that do not fit the mask or the model."""
        require_settings(settings)
        head_mask, every_head = tensors.get("head_mask", torch.empty(0)), lm.geometry.every_head()
        if head_mask.dtype != torch.bool or head_mask.shape != every_head.shape or (head_mask & ~every_head).any():
            raise UserError("it has no head mask of this model; train it again")
        if not head_mask.any():
            raise UserError("its head mask selects no head; train it again")
        own = {name: value for name, value in tensors.items() if name != "head_mask"}
        values = require_tensors(own, {"log_gamma": (int(head_mask.sum()),)})
        return cls(lm.geometry, head_mask, values["log_gamma"])
