"""Interventions as files: tensors, with what they are and what model they are for."""

import json
from pathlib import Path
from typing import Any

from lofit_cli.artifacts.geometry import Geometry
from lofit_cli.artifacts.tensors import read_all_tensors, write_tensors
from lofit_cli.errors import UserError
from lofit_cli.interventions import INTERVENTIONS
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.models.language_model import LanguageModel

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
    settings: dict[str, Any] = json.loads(about["settings"])
    try:
        edit = INTERVENTIONS[about["class"]].restore(lm, settings, tensors)
    except (UserError, KeyError, TypeError) as error:
        reason = error if isinstance(error, UserError) else f"it was written by another version: {error}"
        raise UserError(f"intervention {file} can't be used: {reason}")
    return edit.to(lm.model.device).eval()
