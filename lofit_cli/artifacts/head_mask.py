"""Head scores and the mask of the selected heads."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lofit_cli.artifacts.files import read_json, write_json
from lofit_cli.artifacts.geometry import Geometry
from lofit_cli.artifacts.tensors import read_tensors, write_tensors
from lofit_cli.errors import UserError

KIND = "head_mask"
FILE_NAME = "head_mask.safetensors"


@dataclass(frozen=True)
class HeadMask:
    """Which heads are selected, and the scores they were selected for.

    Attributes:
        scores: (num_layers, max_heads) float32, higher is better.
        mask: (num_layers, max_heads) bool.
    """

    model_id: str
    geometry: Geometry
    selector: str
    scores: Tensor
    mask: Tensor

    def ranked_heads(self) -> list[tuple[int, int, float]]:
        """Return (layer, head, score) of each selected head, best first."""
        heads = [(int(layer), int(head), float(self.scores[layer, head])) for layer, head in self.mask.nonzero()]
        return sorted(heads, key=lambda item: -item[2])

    def save(self, folder: Path) -> None:
        """Write `head_mask.safetensors` and a readable `head_mask.json` into a folder."""
        about = {"model_id": self.model_id, "selector": self.selector, **self.geometry.metadata()}
        write_tensors(folder / FILE_NAME, KIND, {"head_scores": self.scores, "head_mask": self.mask}, about)
        write_json(folder / "head_mask.json", self.ranked_heads())

    @classmethod
    def load(cls, file: Path, model_id: str, geometry: Geometry) -> "HeadMask":
        """Read a mask from a safetensors file or a JSON list of `[layer, head]` or `[layer, head, score]`.

        Raises:
            UserError: the file is unreadable, not a head mask, or for another geometry.
        """
        if file.suffix == ".json":
            return cls._from_list(file, model_id, geometry)
        tensors, about = read_tensors(file, KIND, ("head_scores", "head_mask"))
        geometry.require(Geometry.from_metadata(about), f"head mask {file}")
        return cls(about["model_id"], geometry, about["selector"], tensors["head_scores"], tensors["head_mask"])

    @classmethod
    def _from_list(cls, file: Path, model_id: str, geometry: Geometry) -> "HeadMask":
        scores = torch.full((geometry.num_layers, geometry.max_heads), -torch.inf)
        heads = read_json(file)
        try:
            for rank, (layer, head, *score) in enumerate(heads):
                if layer < 0 or head < 0:
                    raise IndexError
                scores[layer, head] = value = float(score[0]) if score else float(-rank)
                if not math.isfinite(value):
                    raise ValueError
        except (TypeError, ValueError, IndexError):
            raise UserError(f"head mask {file} is not a JSON list of [layer, head, score] within {geometry}")
        if not heads:
            raise UserError(f"head mask {file} lists no head; give it one [layer, head] or more")
        return cls(model_id, geometry, "file", scores, scores > -torch.inf)


def select_top(scores: Tensor, num_heads: int) -> Tensor:
    """Return the mask of the `num_heads` best heads over all layers; ties go to the lower layer, then head."""
    order = scores.flatten().argsort(descending=True, stable=True)[:num_heads]
    mask = torch.zeros(scores.numel(), dtype=torch.bool)
    mask[order] = True
    return mask.view_as(scores)


def parse_num_heads(text: str, geometry: Geometry) -> int:
    """Return the number of heads that `27` or `3%` stands for.

    Raises:
        UserError: not a number, or none or more heads than there are.
    """
    total = geometry.total_heads
    try:
        number = float(text.removesuffix("%"))
        count = number / 100 * total if text.endswith("%") else int(text)
    except ValueError:
        count = 0
    if not 0 < count <= total:
        raise UserError(f"num_heads={text} is not allowed; give 1 to {total}, or a share such as 3%")
    return max(1, round(count))
