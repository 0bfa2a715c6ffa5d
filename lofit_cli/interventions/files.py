"""Interventions as files: tensors, with what they are and what model they are for."""

import json
from pathlib import Path
from typing import Any, get_type_hints

import torch
from torch import Tensor

from lofit_cli.artifacts.finished_runs import read_manifest
from lofit_cli.artifacts.geometry import Geometry
from lofit_cli.artifacts.manifest import TrainOffsetsManifest
from lofit_cli.artifacts.tensors import read_all_tensors, require_numbers, write_tensors
from lofit_cli.artifacts.typed import fit
from lofit_cli.errors import UserError
from lofit_cli.interventions import INTERVENTIONS
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.models.load import describe_model, one_name

KIND = "intervention"
FILE_NAME = "intervention.safetensors"


def save_intervention(edit: Intervention, folder: Path, lm: LanguageModel) -> None:
    """Write `intervention.safetensors` into a folder."""
    about = {"class": edit.kind, "settings": json.dumps(edit.settings()), "model_id": lm.id, **lm.geometry.metadata()}
    write_tensors(folder / FILE_NAME, KIND, edit.tensors(), about)


def load_intervention_file(folder: Path, lm: LanguageModel) -> Intervention:
    """Read the intervention of a run directory, on the model's device and not in training.

    Raises:
        UserError: the file is unreadable, or for another model.
    """
    file = folder / FILE_NAME
    tensors, about = read_all_tensors(file, KIND)
    lm.geometry.require(Geometry.from_metadata(about), f"intervention {file}")
    require_numbers(tensors, f"intervention {file}")
    try:
        edit = _restore(lm, about, tensors)
    except (UserError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = error if isinstance(error, UserError) else f"it was written by another version: {error}"
        raise UserError(f"intervention {file} can't be used: {reason}")
    return edit.to(lm.model.device).eval()


def _restore(lm: LanguageModel, about: dict[str, Any], tensors: dict[str, Tensor]) -> Intervention:
    """Make an intervention of what a file holds, all of it."""
    kind, settings = INTERVENTIONS[about["class"]], json.loads(about["settings"])
    hints = get_type_hints(kind.__init__)
    settings = {name: fit(name, value, hints[name]) for name, value in settings.items()}
    if settings.get("layer", 0) >= lm.geometry.num_layers:
        raise UserError(f"it edits layer {settings['layer']}, which this model has not; use the model it was made for")
    edit = kind.restore(lm, settings, tensors)
    held = edit.tensors()
    if unlike := [name for name in tensors.keys() | held.keys() if not _are_alike(tensors.get(name), held.get(name))]:
        raise UserError(f"its {min(unlike)} is not what such an intervention has; make it again")
    return edit


def _are_alike(one: Tensor | None, other: Tensor | None) -> bool:
    """Return whether two tensors have one shape, and both or neither hold numbers; their precision may differ."""
    if one is None or other is None:
        return False
    return one.shape == other.shape and (one.dtype == torch.bool) == (other.dtype == torch.bool)


def load_intervention(folder: Path | str, lm: LanguageModel) -> tuple[Intervention, dict[str, Any]]:
    """Return a train-offsets run's intervention, on the model's device, and what its manifest says of how it was made.

    Raises:
        UserError: it is for another model, or can't be read.
    """
    folder = Path(folder)
    manifest = read_manifest(folder, TrainOffsetsManifest, "intervention")
    _require_same_weights(manifest, lm, folder)
    seconds = manifest.selection_seconds + manifest.wall_seconds
    return load_intervention_file(folder, lm), {**manifest.repeated(), "training_seconds": seconds}


def _require_same_weights(manifest: TrainOffsetsManifest, lm: LanguageModel, folder: Path) -> None:
    """Refuse offsets trained on other weights; between dtypes, whose weights differ, the names must be the same."""
    here = describe_model(lm)
    if manifest.dtype == here["dtype"]:
        is_same = manifest.model_hash == here["model_hash"]
    else:
        is_same = one_name(manifest.model) == one_name(lm.id)
    if not is_same:
        raise UserError(
            f"intervention={folder} was trained on model '{manifest.model}' and '{lm.id}' has other weights; "
            "set model.id and model.revision to the model it was trained on"
        )
