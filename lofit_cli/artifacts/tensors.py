"""Tensors in safetensors files that say what they are; a file apart, because torch takes seconds to import."""

import json
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lofit_cli.artifacts.files import write_file
from lofit_cli.errors import UserError

METADATA = "lofit"
"""The entry of a safetensors file's metadata that holds ours, as JSON."""


def write_tensors(file: Path, kind: str, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write tensors with metadata that says what they are; the same content gives the same bytes."""
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # In one entry, because safetensors writes several in no fixed order.
    about = {METADATA: json.dumps({"kind": kind, **metadata}, sort_keys=True)}
    write_file(file, lambda path: safetensors.torch.save_file(held, path, about))


def read_tensors(file: Path, kind: str, names: tuple[str, ...]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the named tensors, and there must be no others, and the metadata of a file of this kind.

    Raises:
        UserError: the file is missing, cut off, or holds something else.
    """
    found, metadata = read_all_tensors(file, kind)
    if found.keys() != set(names):
        raise UserError(f"{file} does not hold {' and '.join(names)} alone; name a {kind} file that a lofit run wrote")
    return {name: found[name] for name in names}, metadata


def read_all_tensors(file: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read all tensors and the metadata of a file of this kind; errors as for `read_tensors`."""
    try:
        with safe_open(file, framework="pt") as content:
            metadata = json.loads((content.metadata() or {}).get(METADATA, "{}"))
            names = content.keys()
            found = {name: content.get_tensor(name) for name in names}
    except (OSError, SafetensorError, AttributeError, RecursionError, RuntimeError, ValueError) as error:
        raise UserError(f"{file} could not be read ({error}); it is missing, cut off or not a safetensors file")
    if not isinstance(metadata, dict) or metadata.get("kind") != kind:
        raise UserError(f"{file} is not a {kind} file of lofit; name one that a lofit run wrote")
    return found, metadata


def require_finite(name: str, tensor: Tensor) -> None:
    """Refuse numbers that are not finite."""
    if not tensor.isfinite().all():
        raise UserError(f"its {name} holds numbers that are not finite")
