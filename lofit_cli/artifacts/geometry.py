"""The shape of a model's attention heads, which every head artifact states and is checked against."""

import re
from dataclasses import asdict, dataclass
from itertools import groupby, zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lofit_cli.errors import UserError

FORMAT = 2
"""Of the geometry in a file's metadata; the first form was three numbers, for models whose layers are all alike."""

FIRST_FORM = ("num_layers", "num_heads", "head_dim")
SMALL_NUMBER = re.compile("[1-9][0-9]{0,4}")


@dataclass(frozen=True)
class Geometry:
    """The query heads of each layer.

    Tensors over all heads are rectangles of (num_layers, max_heads), and numbers of a head rows of `head_dim`; where a
    layer has fewer heads, none, or smaller ones, the rest is empty: no head, and 0.

    Attributes:
        heads_per_layer: how many heads each layer has, 0 where it has no attention.
        head_dims: how many numbers one head's activation has in each layer, 0 where there is none.
    """

    heads_per_layer: tuple[int, ...]
    head_dims: tuple[int, ...]

    @classmethod
    def uniform(cls, num_layers: int, heads_per_layer: int, head_dim: int) -> "Geometry":
        """Return the geometry of a model whose layers are all alike."""
        return cls((heads_per_layer,) * num_layers, (head_dim,) * num_layers)

    @property
    def num_layers(self) -> int:
        """Return the number of layers, with and without heads."""
        return len(self.heads_per_layer)

    @property
    def total_heads(self) -> int:
        """Return the number of query heads in the whole model."""
        return sum(self.heads_per_layer)

    @property
    def max_heads(self) -> int:
        """Return the number of heads of the layer that has most."""
        return max(self.heads_per_layer)

    @property
    def head_dim(self) -> int:
        """Return how many numbers the largest head has."""
        return max(self.head_dims)

    def every_head(self) -> Tensor:
        """Return the mask of all heads: (num_layers, max_heads) bool."""
        return torch.arange(self.max_heads) < torch.tensor(self.heads_per_layer)[:, None]

    def own_numbers(self, head_mask: Tensor) -> Tensor:
        """Return which numbers in the rows of a mask's heads are theirs, not empty: (num_heads, head_dim) bool."""
        dims = torch.tensor(self.head_dims, device=head_mask.device)[head_mask.nonzero()[:, 0]]
        return torch.arange(self.head_dim, device=head_mask.device) < dims[:, None]

    @classmethod
    def from_metadata(cls, metadata: dict[str, Any], file: Path) -> "Geometry":
        """Read the geometry that an artifact states, in the present or in the first form.

        Raises:
            UserError: it states none, or in a form of a later version.
        """
        first = [str(metadata.get(key)) for key in FIRST_FORM]
        if all(SMALL_NUMBER.fullmatch(number) for number in first):
            return cls.uniform(*map(int, first))
        stated = metadata.get("geometry")
        if isinstance(stated, dict) and stated.get("format") not in (None, FORMAT):
            raise UserError(
                f"{file} states the geometry of its model in a form that this version can't read; update lofit"
            )
        if not isinstance(stated, dict) or not _are_sizes(stated.get("heads_per_layer"), stated.get("head_dims")):
            raise UserError(f"{file} does not state the geometry of its model; make it again with this version")
        return cls(tuple(stated["heads_per_layer"]), tuple(stated["head_dims"]))

    def metadata(self) -> dict[str, Any]:
        """Return the geometry as an artifact states it."""
        return {"geometry": {"format": FORMAT, **asdict(self)}}

    def require(self, other: "Geometry", what: str) -> None:
        """Refuse an artifact made for another geometry."""
        if self != other:
            raise UserError(f"{what} is for a model with {other}, this model has {self}; use the model it was made for")

    def __str__(self) -> str:
        kinds = sorted(zip(self.heads_per_layer, self.head_dims, strict=True), reverse=True)
        counts = ((len(list(alike)), *kind) for kind, alike in groupby(kinds))
        return ", ".join(_describe(*count) for count in counts)


def _describe(num_layers: int, num_heads: int, head_dim: int) -> str:
    layers = f"{num_layers} layer{'s' * (num_layers > 1)}"
    return f"{layers} of {num_heads} heads of {head_dim}" if num_heads else f"{layers} without heads"


def _are_sizes(heads_per_layer: Any, head_dims: Any) -> bool:
    """Return whether these are lists of whole numbers, as long, both 0 in a layer or neither, and not 0 in all."""
    lists = heads_per_layer, head_dims
    if not all(isinstance(found, list) and all(type(number) is int for number in found) for found in lists):
        return False
    pairs = list(zip_longest(*lists, fillvalue=-1))
    return any(heads for heads, _ in pairs) and all((h > 0 and d > 0) or h == d == 0 for h, d in pairs)
