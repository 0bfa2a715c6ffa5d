"""Head scores and the mask of the selected heads."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lofit_cli.artifacts.files import read_json, write_json
from lofit_cli.artifacts.finished_runs import require_unchanged
from lofit_cli.artifacts.geometry import Geometry
from lofit_cli.artifacts.head_scores import FILE_NAME as FILE_NAME
from lofit_cli.artifacts.tensors import read_tensors, write_tensors
from lofit_cli.errors import UserError

KIND = "head_mask"
MOST = 100_000
"""No layer and no head has a number as large."""
MOST_SCORE = torch.finfo(torch.float32).max


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
            UserError: the file is unreadable, not a head mask, for another geometry, or not as its run wrote it.
        """
        require_unchanged(file.parent, file.name)
        if file.suffix == ".json":
            return cls._from_list(file, model_id, geometry)
        heads = cls.read(file)
        geometry.require(heads.geometry, f"head mask {file}")
        return heads

    @classmethod
    def read(cls, file: Path) -> "HeadMask":
        """Read a safetensors file, whatever model it is for.

        Raises:
            UserError: it is unreadable, or no head mask.
        """
        tensors, about = read_tensors(file, KIND, ("head_scores", "head_mask"))
        geometry = Geometry.from_metadata(about, file)
        model_id, selector = about.get("model_id"), about.get("selector")
        if not isinstance(model_id, str) or not isinstance(selector, str):
            raise UserError(f"head mask {file} does not say which model and selector it is of; make it again")
        scores, mask = tensors["head_scores"], tensors["head_mask"]
        if mask.dtype != torch.bool or not scores.is_floating_point():
            raise UserError(f"head mask {file} holds no floating-point scores, or no truth values; select heads again")
        _require_fit(file, geometry, scores.float(), mask)
        return cls(model_id, geometry, selector, scores.float(), mask)

    @classmethod
    def _from_list(cls, file: Path, model_id: str, geometry: Geometry) -> "HeadMask":
        heads = parse_heads(read_json(file), f"head mask {file}")
        scores = torch.full((geometry.num_layers, geometry.max_heads), -torch.inf)
        for rank, (layer, head, score) in enumerate(heads):
            if layer >= geometry.num_layers or head >= geometry.heads_per_layer[layer]:
                raise UserError(f"head mask {file} lists [{layer}, {head}], and this model has {geometry}")
            scores[layer, head] = -rank if score is None else score
        return cls(model_id, geometry, "file", scores, scores > -torch.inf)


def parse_heads(entries: Any, what: str) -> list[tuple[int, int, float | None]]:
    """Return (layer, head, score) of each entry of a list of `[layer, head]`, or of `[layer, head, score]`.

    Raises:
        UserError: it is no such list, lists a head twice, or gives some heads a score and others none.
    """
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{what} is not a JSON list of one [layer, head], or [layer, head, score], or more")
    found: dict[tuple[int, int], float | None] = {}
    for entry in entries:
        if not isinstance(entry, list) or len(entry) != len(entries[0]) or not _is_head(*entry):
            raise UserError(
                f"{what} lists {entry!r:.60}, and each entry must be [layer, head], or each [layer, head, score]"
            )
        layer, head, *score = entry
        if (layer, head) in found:
            raise UserError(f"{what} lists [{layer}, {head}] twice; leave one of them out")
        found[layer, head] = float(score[0]) if score else None
    return [(*head, score) for head, score in found.items()]


def _is_head(*entry: Any) -> bool:
    """Return whether an entry is a layer, a head and perhaps a score; True and 1.0 are none of them."""
    if not 2 <= len(entry) <= 3 or not all(type(number) is int and 0 <= number < MOST for number in entry[:2]):
        return False
    return all(type(score) in (int, float) and -MOST_SCORE <= score <= MOST_SCORE for score in entry[2:])


def _require_fit(file: Path, geometry: Geometry, scores: Tensor, mask: Tensor) -> None:
    """Refuse scores and a mask that are not of a geometry's heads."""
    shape = geometry.num_layers, geometry.max_heads
    if scores.shape != shape or mask.shape != shape:
        reason = f"its tensors are of shape {tuple(scores.shape)} and {tuple(mask.shape)}, not {shape}"
    elif not mask.any() or (mask & ~geometry.every_head()).any():
        reason = "it selects no head, or one that the model does not have"
    elif not scores[mask].isfinite().all() or (scores.isnan() | (scores == torch.inf)).any():
        reason = "some of its scores are not finite"
    else:
        return
    raise UserError(f"head mask {file} can't be used: {reason}; select heads again")


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
