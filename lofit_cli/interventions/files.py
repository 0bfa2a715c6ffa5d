"""Interventions read from files: tensors, with what they are and what model they are for."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from lofit_cli.artifacts.files import file_hash
from lofit_cli.artifacts.finished_runs import find_newest, read_manifest
from lofit_cli.artifacts.geometry import Geometry
from lofit_cli.artifacts.manifest import MANIFEST, TrainOffsetsManifest
from lofit_cli.artifacts.tensors import read_all_tensors
from lofit_cli.console import say
from lofit_cli.errors import UserError
from lofit_cli.interventions import INTERVENTIONS
from lofit_cli.interventions.intervention import FILE_NAME, KIND, Intervention
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.tensor_parallel import num_parts
from lofit_cli.models.weights import describe_model, one_name
from lofit_cli.plugins import look_up
from lofit_cli.schema.sources import ModelConfig


def load_intervention_file(folder: Path, lm: Decoder) -> Intervention:
    """Read the intervention of a run directory, on the model's device and not in training.

    Raises:
        UserError: the file is unreadable, or for another model.
    """
    file = folder / FILE_NAME
    tensors, about = read_all_tensors(file, KIND)
    lm.geometry.require(Geometry.from_metadata(about, file), f"intervention {file}")
    kind = about.get("class")
    try:
        made = look_up("interventions", str(kind)[:60], INTERVENTIONS, "its class")
        edit = made.restore(lm, _settings(about), tensors)
    except UserError as error:
        raise UserError(f"intervention {file} can't be used: {error}")
    if num_parts(lm.model) > 1 and not edit.edits_parts:
        raise UserError(
            f"intervention {file} changes what model.tp=auto leaves a part of to each process; leave it out"
        )
    return edit.placed(lm).eval()


def _settings(about: dict[str, Any]) -> Any:
    """Return the settings that a file's metadata has as JSON."""
    try:
        return json.loads(about["settings"])
    except (KeyError, RecursionError, TypeError, ValueError):
        raise UserError("its settings are missing or not JSON; make it again with this version")


def load_intervention(
    folder: Path | str, lm: Decoder, key: str = "intervention"
) -> tuple[Intervention, dict[str, Any]]:
    """Return a train-offsets run's intervention, on the model's device, and what its manifest says of how it was made.

    Args:
        key: what the user set to the run, for the errors.

    Raises:
        UserError: it is for another model, or can't be read.
    """
    folder = Path(folder)
    manifest = read_manifest(folder, TrainOffsetsManifest, key)
    _require_same_model(manifest, lm, f"{key}={folder}")
    edit = load_intervention_file(folder, lm)
    if manifest.intervention_hash not in (None, file_hash(folder / FILE_NAME)):
        raise UserError(
            f"{key}={folder}: its {FILE_NAME} is not the one that the run wrote (intervention_hash in its "
            f"{MANIFEST}); put that one back, or train again"
        )
    seconds = manifest.selection_seconds + manifest.own_seconds
    return edit, {**manifest.repeated(), "trained_fold": manifest.fold, "training_seconds": seconds}


def find_run(name: str, runs_dir: Path) -> Path:
    """Return the run directory that `intervention` names; `latest` is the newest finished one, whatever its model.

    Raises:
        UserError: it is `none`, or there is no finished one.
    """
    if name == "none":
        raise UserError(
            "intervention=none stands for the model as it is, which only evaluate takes; name a finished run of "
            "train_offsets, or write intervention=latest"
        )
    if name != "latest":
        return Path(name)
    folder = find_newest(runs_dir, TrainOffsetsManifest)
    say(f"intervention=latest: taking {folder}")
    return folder


def settings_of_model(folder: Path | str, manifest: TrainOffsetsManifest, device: str | None) -> ModelConfig:
    """Return the settings of the model that a run's intervention was trained on, with another device if one is named.

    Raises:
        UserError: the manifest does not state them.
    """
    stated = manifest.config.get("model")
    if not isinstance(stated, dict) or not isinstance(stated.get("id"), str):
        stated = {"unknown": None}
    try:
        model = ModelConfig(**stated)
    except TypeError:
        raise UserError(f"intervention={folder} does not say what model it is for; train it again")
    return replace(model, device=device, device_map=None) if device else model


def _require_same_model(manifest: TrainOffsetsManifest, lm: Decoder, named: str) -> None:
    """Refuse offsets trained on another model; between dtypes, whose weights differ, the names must be the same.

    A quantised model and the one that it was made from are two models.

    Args:
        named: the run, as the user named it.
    """
    trained, here = (name or "none" for name in (manifest.quantization, lm.quantization))
    if trained != here:
        raise UserError(
            f"{named} was trained with model.quantization={trained}, and with model.quantization={here} "
            f"the model has other weights; set model.quantization={trained}"
        )
    if other := _first_difference(manifest, lm):
        raise UserError(
            f"{named} was trained on model '{manifest.model}' and '{lm.id}' has other {other}; "
            "set model.id and model.revision to the model it was trained on"
        )


def _first_difference(manifest: TrainOffsetsManifest, lm: Decoder) -> str | None:
    """Return what a model has other than the one that a run was trained on, if anything."""
    here = describe_model(lm)
    trained, found = manifest.model_config or {}, here["model_config"]
    for key in sorted(trained.keys() | found.keys() if trained else ()):
        if trained.get(key) != found.get(key):
            return f"values in its config.json ({key} was {_short(trained, key)}, and is {_short(found, key)})"
    if manifest.tokenizer_hash not in (None, here["tokenizer_hash"]):
        return "tokens: its tokenizer's vocabulary or the way it splits a text has changed"
    is_same = has_weights(manifest, lm.id, here["model_hash"], here["dtype"])
    return None if is_same else "weights"


def has_weights(manifest: TrainOffsetsManifest, model: str, model_hash: str, dtype: str) -> bool:
    """Return whether a run was trained on these weights; between dtypes, whose weights differ, the names tell."""
    if manifest.dtype == dtype:
        return manifest.model_hash == model_hash
    return one_name(manifest.model) == one_name(model)


def _short(config: dict[str, Any], key: str) -> str:
    """Return a value of a config as JSON, cut where it is long; what it does not state is its class's default."""
    return json.dumps(config[key])[:60] if key in config else "its default"
