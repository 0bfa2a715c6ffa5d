"""Checks of what a model needs around it: versions, a device, its files, memory and disk."""

import os
import platform
import shutil
from pathlib import Path

import torch
import transformers
from huggingface_hub import constants
from transformers import PreTrainedModel

import lofit_cli
from lofit_cli.artifacts.cache_dir import cache_dir
from lofit_cli.doctor.finding import Finding
from lofit_cli.models.checkpoint import read_outline
from lofit_cli.models.embedded import EMBEDDED_MODELS
from lofit_cli.models.load import open_device
from lofit_cli.models.memory import free_memory, row_tokens
from lofit_cli.models.outline import ModelFiles, find_files, kept_bytes, needed_bytes
from lofit_cli.schema.sources import ModelConfig

GB = 1e9
ROOM = 0.8
"""The share of free memory that weights may take and leave enough for short rows."""
RUN_BYTES = 10**9
"""What a folder for runs should have room for: tensors and predictions are small, the weights of `method=full` not."""


def check_versions() -> Finding:
    """Name the versions that a bug report needs."""
    libraries = f"torch {torch.__version__}, transformers {transformers.__version__}"
    return Finding("versions", "ok", f"Python {platform.python_version()}, {libraries}, lofit {lofit_cli.__version__}")


def check_device(config: ModelConfig) -> Finding:
    """Name the device that the model will be on.

    Raises:
        UserError: it is not there.
    """
    device = open_device(config.device)
    if device.type == "cuda":
        return Finding("device", "ok", f"{device}, {torch.cuda.get_device_name(device)}")
    return Finding("device", "ok", f"{device}, {os.cpu_count()} cores; torch uses {torch.get_num_threads()}")


def check_files(config: ModelConfig, files: ModelFiles) -> Finding:
    """Say whether the model's files are here and whether the Hub may be asked; nothing goes over the network."""
    is_offline = constants.HF_HUB_OFFLINE
    setting = f"HF_HUB_OFFLINE is {'set' if is_offline else 'not set'}"
    if files.weights:
        return Finding("files", "ok", f"the model is in {files.folder}; {setting}")
    kept = f"{files.folder} has a config and not all of the weights" if files.folder else "no file of the model is here"
    if files.folder and Path(config.id).is_dir():
        return Finding("files", "FAILED", f"{kept}; put its safetensors beside its config.json")
    if is_offline and config.id not in EMBEDDED_MODELS:
        return Finding(
            "files", "FAILED", f"{kept} and {setting}; unset it, or fetch the model where there is a network"
        )
    return Finding("files", "warning", f"{kept}; the first command that loads it will fetch it; {setting}")


def check_memory(config: ModelConfig, files: ModelFiles) -> Finding:
    """Set what the weights take against the memory that is free; without the weights their config says it."""
    if files.folder is None:
        return Finding("memory", "warning", "how much the model takes is not known before its config.json is here")
    device, outline = open_device(config.device), read_outline(config, files.folder)
    needed, free = needed_bytes(outline, files, config), free_memory(device)
    if needed is None or free is None:
        what = "is free here" if needed is not None else "the weights take"
        return Finding("memory", "warning", f"how much memory {what} is not known; look yourself before a long run")
    dtype = str(outline.dtype).removeprefix("torch.") if outline else config.dtype
    words = f"the weights take {needed / GB:.2f} GB in {dtype} and {free / GB:.1f} GB of {device} are free"
    if outline and not files.weights:
        words += f"; {_in_training(config, outline, device)}"
    if needed > free:
        return Finding("memory", "FAILED", f"{words}; set model.dtype=bfloat16, or take a larger machine")
    if needed > ROOM * free or not files.weights:
        return Finding("memory", "warning", f"{words}; a smaller model.max_row_tokens needs less beside the weights")
    return Finding("memory", "ok", words)


def _in_training(config: ModelConfig, outline: PreTrainedModel, device: torch.device) -> str:
    """Say, from the config alone, what a row keeps for the way back."""
    num_tokens = row_tokens(config, device)
    kept = kept_bytes(outline, num_tokens)
    if kept is None:
        return f"what a row of {num_tokens} tokens takes in training is not known before the weights are here"
    return f"a row of {num_tokens} tokens takes up to {kept / GB:.2f} GB more in training"


def check_runs_disk(runs_dir: str) -> Finding:
    """Say whether runs can be written."""
    place = _existing(Path(runs_dir))
    free = shutil.disk_usage(place).free
    words = f"{free / GB:.1f} GB are free in {runs_dir}"
    if not os.access(place, os.W_OK):
        return Finding("disk for runs", "FAILED", f"{place} can't be written; set runs_dir to a folder that can")
    if free < RUN_BYTES:
        return Finding("disk for runs", "warning", f"{words}, which may be too little; free some, or set runs_dir")
    return Finding("disk for runs", "ok", words)


def check_model_disk(config: ModelConfig, files: ModelFiles) -> Finding:
    """Say whether the model, where it has yet to be fetched, has room on the disk."""
    cache = cache_dir() if config.id in EMBEDDED_MODELS else Path(constants.HF_HUB_CACHE)
    if files.weights:
        return Finding(
            "disk for models", "ok", f"nothing has to be fetched; its weights are {files.num_bytes / GB:.2f} GB"
        )
    free = shutil.disk_usage(_existing(cache)).free
    outline = read_outline(config, files.folder) if files.folder else None
    needed = needed_bytes(outline, files) or 0
    words = f"{free / GB:.1f} GB are free in {cache}"
    if needed > free:
        more = f"the weights take {needed / GB:.1f} GB; free some, or set HF_HOME to another disk"
        return Finding("disk for models", "FAILED", f"{words}, and {more}")
    return Finding("disk for models", "ok", words)


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that is there."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())


def check_surroundings(config: ModelConfig, runs_dir: str) -> list[Finding]:
    """Return what is found without loading the model.

    Raises:
        UserError: the device is not there, or the model's config is of no decoder.
    """
    files = find_files(config)
    return [
        check_versions(),
        check_device(config),
        check_files(config, files),
        check_memory(config, files),
        check_runs_disk(runs_dir),
        check_model_disk(config, files),
    ]
