"""Trained offsets: what LoFiT ships."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from lofit_cli.artifacts.files import read_tensors, write_tensors
from lofit_cli.artifacts.geometry import Geometry
from lofit_cli.errors import UserError

KIND = "offsets"
FILE_NAME = "offsets.safetensors"
SITE = {"module": "o_proj", "side": "input", "positions": "all"}
"""Where the offset is added: to the input of the attention output projection, at every position."""


@dataclass(frozen=True)
class Offsets:
    """An offset vector for each head of the mask.

    Attributes:
        offset: (num_layers, num_heads, head_dim) float32, 0 outside the mask.
        mask: (num_layers, num_heads) bool.
    """

    model_id: str
    geometry: Geometry
    offset: Tensor
    mask: Tensor

    def save(self, folder: Path) -> None:
        """Write `offsets.safetensors` into a folder."""
        about = {"model_id": self.model_id, **SITE, **self.geometry.metadata()}
        write_tensors(folder / FILE_NAME, KIND, {"offset": self.offset, "head_mask": self.mask}, about)

    @classmethod
    def load(cls, file: Path, geometry: Geometry) -> "Offsets":
        """Read offsets made for a geometry.

        Raises:
            UserError: the file is unreadable, for another geometry or site, or its offsets do not fit its mask.
        """
        tensors, about = read_tensors(file, KIND, ("offset", "head_mask"))
        geometry.require(Geometry.from_metadata(about), f"offsets file {file}")
        if any(about.get(key) != value for key, value in SITE.items()):
            raise UserError(f"offsets file {file} is for another site than {SITE}; train offsets with this version")
        offset, mask = tensors["offset"], tensors["head_mask"]
        shape = (geometry.num_layers, geometry.num_heads, geometry.head_dim)
        if tuple(offset.shape) != shape or tuple(mask.shape) != shape[:2] or offset[~mask].any():
            raise UserError(f"offsets file {file} does not match its own head mask; train the offsets again")
        return cls(about["model_id"], geometry, offset, mask)
