"""Head scores and the mask of the selected heads."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lofit_cli.artifacts.files import read_json, write_json
from lofit_cli.artifacts.geometry import Geometry
from lofit_cli.artifacts.tensors import read_tensors, write_tensors
from lofit_cli.errors import UserError

KIND = "head_mask"
FILE_NAME = "head_mask.safetensors"
LARGEST = torch.finfo(torch.float32).max


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
        named = [about.get(key) for key in ("model_id", "selector")]
        if not all(isinstance(text, str) for text in named):
            raise UserError(f"head mask {file} does not state its model_id and selector; select the heads again")
        _require_whole(tensors["head_scores"], tensors["head_mask"], geometry, f"head mask {file}")
        return cls(str(named[0]), geometry, str(named[1]), tensors["head_scores"], tensors["head_mask"])

    @classmethod
    def _from_list(cls, file: Path, model_id: str, geometry: Geometry) -> "HeadMask":
        scores = torch.full((geometry.num_layers, geometry.max_heads), -torch.inf)
        heads = read_json(file)
        if not isinstance(heads, list) or not all(_is_ranked_head(head, geometry) for head in heads):
            raise UserError(f"head mask {file} is not a JSON list of [layer, head, score] within {geometry}")
        if not heads:
            raise UserError(f"head mask {file} lists no head; give it one [layer, head] or more")
        for rank, (layer, head, *score) in enumerate(heads):
            if scores[layer, head] != -torch.inf:
                raise UserError(f"head mask {file} lists [{layer}, {head}] twice; leave one out")
            scores[layer, head] = score[0] if score else -rank
        return cls(model_id, geometry, "file", scores, scores > -torch.inf)


def _is_ranked_head(entry: Any, geometry: Geometry) -> bool:
    """Return whether an entry of a list is a head of the model: [layer, head], or with a score that float32 holds."""
    if not isinstance(entry, list) or len(entry) not in (2, 3) or any(type(number) is not int for number in entry[:2]):
        return False
    layer, head = entry[:2]
    is_there = 0 <= layer < geometry.num_layers and 0 <= head < geometry.heads_per_layer[layer]
    return is_there and all(type(score) in (int, float) and abs(score) <= LARGEST for score in entry[2:])


def _require_whole(scores: Tensor, mask: Tensor, geometry: Geometry, what: str) -> None:
    """Refuse scores and a mask that no selection can have made.

    Raises:
        UserError: they are of another shape or type, or a selected head is none of the model's or has no finite score.
    """
    every_head = geometry.every_head()
    if scores.shape != every_head.shape or mask.shape != every_head.shape:
        raise UserError(f"{what} is damaged: its tensors are not of shape {tuple(every_head.shape)}; make it again")
    if scores.dtype != torch.float32 or mask.dtype != torch.bool:
        raise UserError(f"{what} is damaged: its scores are not float32 or its mask is not bool; make it again")
    if not mask.any() or (mask & ~every_head).any():
        raise UserError(f"{what} is damaged: it selects no head, or one that the model has not; make it again")
    if not scores[mask].isfinite().all() or scores.isnan().any():
        raise UserError(f"{what} is damaged: its scores are not all numbers; make it again")


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
