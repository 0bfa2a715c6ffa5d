"""The shape of a model's attention heads, which every head artifact states and is checked against."""

from dataclasses import astuple, dataclass
from typing import Any

from lofit_cli.errors import UserError

KEYS = ("num_layers", "num_heads", "head_dim")
"""The entries of a file's metadata that state the geometry."""


@dataclass(frozen=True)
class Geometry:
    """Layers, query heads a layer, and numbers a head activation."""

    num_layers: int
    heads_per_layer: int
    head_dim: int

    @property
    def total_heads(self) -> int:
        """Return the number of query heads in the whole model."""
        return self.num_layers * self.heads_per_layer

    @classmethod
    def from_metadata(cls, metadata: dict[str, Any]) -> "Geometry":
        """Read the geometry an artifact states."""
        try:
            return cls(*(int(metadata[key]) for key in KEYS))
        except (KeyError, ValueError):
            raise UserError("the file does not state the geometry of its model; make it again with this version")

    def metadata(self) -> dict[str, str]:
        """Return the geometry as an artifact states it."""
        return {key: str(value) for key, value in zip(KEYS, astuple(self), strict=True)}

    def require(self, other: "Geometry", what: str) -> None:
        """Refuse an artifact made for another geometry."""
        if self != other:
            raise UserError(f"{what} is for a model with {other}, this model has {self}; use the model it was made for")

    def __str__(self) -> str:
        return f"{self.num_layers} layers of {self.heads_per_layer} heads of {self.head_dim}"
