"""The model of one stage, kept for the next stage in the same process: the points of a sweep often share it."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from lofit_cli.artifacts.cache import max_bytes
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.models.load import check_source, load_model
from lofit_cli.models.weights import weights_hash
from lofit_cli.schema.sources import ModelConfig
from lofit_cli.sharing import share_items

_kept: list[tuple[Any, str, LanguageModel]] = []
"""What the model was asked for by, its weights as they were loaded, and the model; one or none."""


def load_model_once(config: ModelConfig) -> LanguageModel:
    """Return the model of the stage before, where it is the same and as it was loaded; else load it.

    The one before is let go first: there may be room for one of them only.

    Raises:
        UserError: the name is unknown, or the model has no attention heads.
        RunError: it could not be fetched.
    """
    wanted = vars(config) | {"files": list_files(Path(check_source(config.id, "model.id")))}
    if _kept and _kept[0][0] == wanted and _kept[0][1] == weights_hash(_kept[0][2].model):
        share_items(not config.tp)
        return _kept[0][2]
    _kept.clear()
    lm = load_model(config)
    _kept.append((wanted, weights_hash(lm.model), lm))
    return lm


def load_remembering(config: ModelConfig, remembers: bool) -> LanguageModel:
    """Return what `load_model_once` does; what it makes of texts as it is is kept and taken, where that is wanted.

    Raises:
        UserError: also where the limit on what is kept is none, before it is loaded.
    """
    if remembers:
        max_bytes()
    return replace(load_model_once(config), remembers=remembers)


def list_files(folder: Path) -> dict[str, tuple[int, int]]:
    """Return what tells that a file of a folder has been written anew; nothing for a model from the Hub."""
    files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def bytes_of_kept_model() -> int:
    """Return how much memory the kept model takes, which another one would have."""
    return sum(weight.numel() * weight.element_size() for _, _, lm in _kept for weight in lm.model.parameters())


def load_timed(config: ModelConfig) -> tuple[LanguageModel, float]:
    """Return the model, and in how many seconds it was there."""
    began = time.perf_counter()
    return load_model_once(config), time.perf_counter() - began
