"""The shape of a model's attention heads, which every head artifact states and is checked against."""

from dataclasses import asdict, dataclass
from typing import Any

from lofit_cli.errors import UserError


@dataclass(frozen=True)
class Geometry:
    """Layers, query heads a layer, and numbers a head activation."""

    num_layers: int
    num_heads: int
    head_dim: int

    @property
    def num_all_heads(self) -> int:
        """Return the number of query heads in the whole model."""
        return self.num_layers * self.num_heads

    @classmethod
    def from_metadata(cls, metadata: dict[str, Any]) -> "Geometry":
        """Read the geometry an artifact states."""
        try:
            return cls(*(int(metadata[key]) for key in ("num_layers", "num_heads", "head_dim")))
        except (KeyError, ValueError):
            raise UserError("the file does not state the geometry of its model; make it again with this version")

    def metadata(self) -> dict[str, str]:
        """Return the geometry as an artifact states it."""
        return {key: str(value) for key, value in asdict(self).items()}

    def require(self, other: "Geometry", what: str) -> None:
        """Refuse an artifact made for another geometry."""
        if self != other:
            raise UserError(f"{what} is for a model with {other}, this model has {self}; use the model it was made for")

    def __str__(self) -> str:
        return f"{self.num_layers} layers of {self.num_heads} heads of {self.head_dim}"
