"""Edits of the residual stream, after whole decoder layers."""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.nn.utils.parametrizations import orthogonal

from lofit_cli.interventions.intervention import Intervention
from lofit_cli.interventions.saved import require_layer, require_layers, require_settings, require_tensors
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.hooks import Hook, hooked_layer
from lofit_cli.models.positions import POSITIONS
from lofit_cli.schema.checks import one_of
from lofit_cli.schema.trained_methods import LoreftConfig


class ResidualEdit(Intervention):
    """A change of what leaves some layers, at some tokens."""

    edits_parts = True

    @abstractmethod
    def edited_layers(self, lm: Decoder) -> list[int]:
        """Return the layers whose output is changed."""

    @abstractmethod
    def change(self, lm: Decoder, layer: int, hidden: Tensor) -> Tensor:
        """Return the new hidden states (batch, seq, hidden), float32, of a layer."""

    @contextmanager
    def attach(self, lm: Decoder) -> Iterator[None]:
        """Change the output of the edited layers."""
        with ExitStack() as stack:
            for layer in self.edited_layers(lm):
                stack.enter_context(hooked_layer(lm.layers[layer], self._hook(lm, layer)))
            yield

    def _hook(self, lm: Decoder, layer: int) -> Hook:
        def edit(hidden: Tensor) -> Tensor:
            return self.change(lm, layer, hidden.float()).to(hidden.dtype)

        return edit


class DirectionEdit(ResidualEdit):
    """A vector added after one layer: `h <- h + vector`.

    Attributes:
        vector: (hidden,) float32.
        positions: one of `POSITIONS`.

    Source: CAA (arXiv 2312.06681), section 3, and RepE's reading vectors (arXiv 2310.01405), section 3.2.
    """

    kind = "direction_edit"

    def __init__(self, vector: Tensor, layer: int, positions: str) -> None:
        super().__init__()
        self.vector = nn.Parameter(vector)
        self.layer = layer
        one_of("positions", positions, POSITIONS)
        self.positions = positions

    def edited_layers(self, lm: Decoder) -> list[int]:
        """Return the one layer."""
        return [self.layer]

    def change(self, lm: Decoder, layer: int, hidden: Tensor) -> Tensor:
        """Add the vector."""
        vector = self.sign * self.vector.to(hidden.device)
        if self.positions == "all":
            return hidden + vector
        return hidden + lm.token_positions.read(hidden.device).at(self.positions)[..., None] * vector

    def settings(self) -> dict[str, Any]:
        """Return the layer and the positions."""
        return {"layer": self.layer, "positions": self.positions}

    @classmethod
    def restore(cls, lm: Decoder, settings: dict[str, Any], tensors: dict[str, Tensor]) -> "DirectionEdit":
        """Make it again, refusing a vector or a layer that the model has no place for."""
        require_settings(settings, layer=int, positions=str)
        require_layer(settings["layer"], lm.geometry.num_layers)
        return cls(require_tensors(tensors, {"vector": (lm.hidden_size,)})["vector"], **settings)


class DirectionsEdit(ResidualEdit):
    """A vector of its own added after each of several layers, at every token.

    Attributes:
        vectors: (num_edited_layers, hidden) float32.
        layers: in ascending order.
    """

    kind = "directions_edit"

    def __init__(self, vectors: Tensor, layers: list[int]) -> None:
        super().__init__()
        self.vectors, self.layers = nn.Parameter(vectors), layers

    def edited_layers(self, lm: Decoder) -> list[int]:
        """Return those with a vector."""
        return self.layers

    def change(self, lm: Decoder, layer: int, hidden: Tensor) -> Tensor:
        """Add the layer's vector."""
        return hidden + self.vectors[self.layers.index(layer)].to(hidden.device)

    def settings(self) -> dict[str, Any]:
        """Return the layers."""
        return {"layers": self.layers}

    @classmethod
    def restore(cls, lm: Decoder, settings: dict[str, Any], tensors: dict[str, Tensor]) -> "DirectionsEdit":
        """Make it again, refusing vectors or layers that the model has no place for."""
        require_settings(settings, layers=list)
        layers = require_layers(settings["layers"], lm.geometry.num_layers)
        return cls(require_tensors(tensors, {"vectors": (len(layers), lm.hidden_size)})["vectors"], layers)


class SignedDirection(DirectionEdit):
    """A vector that each step of training, as it is drawn, adds or takes away; it is saved as one that is added.

    Source: BiPO (arXiv 2406.00045), equation 3.
    """

    def redraw(self, generator: torch.Generator) -> None:
        """Draw the direction."""
        self.signs = (1 - 2 * int(torch.randint(2, (), generator=generator)),)

    def train(self, mode: bool = True) -> "SignedDirection":
        """Add the vector wherever it is not trained, and look at its loss in no direction that was drawn."""
        self.sign, self.signs = 1, type(self).signs
        return super().train(mode)

    def num_untouched_layers(self) -> int:
        """Return how many layers are below the one whose output is changed."""
        return self.layer


class NulledDirection(SignedDirection):
    """A vector that each step of training adds and, the other way round, takes what there is of it out of.

    What is there of it is `relu(h . v) v / |v|^2`. It is saved as a vector that is added.

    Source: RePS (arXiv 2505.20809), as AxBench's code nulls a direction out.
    """

    pair_loss = "reps"
    signs = (1, -1)

    def redraw(self, generator: torch.Generator) -> None:
        """Draw nothing: each step goes in both directions."""

    def change(self, lm: Decoder, layer: int, hidden: Tensor) -> Tensor:
        """Add the vector, or take out what there is of it."""
        if self.sign > 0:
            return super().change(lm, layer, hidden)
        vector = self.vector.to(hidden.device)
        part = (hidden @ vector).relu()[..., None] / (vector @ vector)
        return hidden - part * vector


class LowRankEdit(ResidualEdit):
    """LoReFT after every layer, at the first and last tokens of the prompt: `h <- h + R^T (W h + b - R h)`.

    R has `rank` orthonormal rows; W and b are a linear map from the hidden states to `rank` numbers. All positions
    share them.

    Source: ReFT (arXiv 2404.03592), equation 2.
    """

    kind = "low_rank_edit"

    def __init__(
        self, num_layers: int, hidden_size: int, rank: int, num_first: int, num_last: int, trained: bool = True
    ) -> None:
        """Make an edit that starts from a random rotation, or an empty one that is about to be loaded."""
        super().__init__()
        self.rank, self.num_first, self.num_last = rank, num_first, num_last
        self.sources = nn.ModuleList(nn.Linear(hidden_size, rank) for _ in range(num_layers))
        self.rotations = nn.ModuleList(nn.Linear(hidden_size, rank, bias=False) for _ in range(num_layers))
        if trained:
            for rotation in self.rotations:
                nn.init.orthogonal_(cast(Tensor, rotation.weight))
                orthogonal(rotation)

    def edited_layers(self, lm: Decoder) -> list[int]:
        """Return every layer."""
        return list(range(lm.geometry.num_layers))

    def change(self, lm: Decoder, layer: int, hidden: Tensor) -> Tensor:
        """Move the hidden states within the subspace of R's rows."""
        source = cast(nn.Linear, self.sources[layer])
        values = cast(Tensor, self.rotations[layer].weight), source.weight, source.bias
        rows, weight, bias = (value.to(hidden.device) for value in values)
        moved = hidden + (linear(hidden, weight, bias) - hidden @ rows.T) @ rows
        edited = lm.token_positions.read(hidden.device).prompt_ends(self.num_first, self.num_last)
        return torch.where(edited[..., None], moved, hidden)

    def settings(self) -> dict[str, Any]:
        """Return the rank and the positions."""
        return {"rank": self.rank, "num_first": self.num_first, "num_last": self.num_last}

    def tensors(self) -> dict[str, Tensor]:
        """Return the maps as they act, whatever stands behind the orthonormal rows."""
        return {
            f"{name}.{layer}.{part}": value.detach()
            for name in ("sources", "rotations")
            for layer, module in enumerate(getattr(self, name))
            for part, value in (("weight", module.weight), ("bias", module.bias))
            if value is not None
        }

    @classmethod
    def restore(cls, lm: Decoder, settings: dict[str, Any], tensors: dict[str, Tensor]) -> "LowRankEdit":
        """Make it again, its rows fixed."""
        require_settings(settings, rank=int, num_first=int, num_last=int)
        LoreftConfig("loreft", **settings)
        shapes = {
            f"{name}.{layer}.{part}": (settings["rank"], lm.hidden_size)[: 2 if part == "weight" else 1]
            for name, part in (("sources", "weight"), ("sources", "bias"), ("rotations", "weight"))
            for layer in range(lm.geometry.num_layers)
        }
        values = require_tensors(tensors, shapes)
        edit = cls(lm.geometry.num_layers, lm.hidden_size, **settings, trained=False)
        edit.load_state_dict(values)
        return edit
