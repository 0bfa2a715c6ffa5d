"""Tensors in safetensors files that say what they are; a file apart, because torch takes seconds to import."""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lofit_cli.artifacts.files import open_file, write_file
from lofit_cli.errors import UserError

METADATA = "lofit"
"""The entry of a safetensors file's metadata that holds ours, as JSON."""
CHECKSUM = "crc32"
"""The entry of ours that holds a checksum of the rest and of the tensors."""


def write_tensors(file: Path, kind: str, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write tensors with metadata that says what they are; the same content gives the same bytes."""
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # In one entry, because safetensors writes several in no fixed order.
    about = json.loads(json.dumps({"kind": kind, **metadata}))
    entry = {METADATA: json.dumps({**about, CHECKSUM: _checksum(held, about)}, sort_keys=True)}
    write_file(file, lambda path: safetensors.torch.save_file(held, path, entry))


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
        open_file(file).close()
        with safe_open(file, framework="pt") as content:
            metadata = _object(json.loads((content.metadata() or {}).get(METADATA, "{}")))
            names = content.keys()
            found = {name: content.get_tensor(name) for name in names}
        stated = metadata.pop(CHECKSUM, None)
        is_as_written = stated is None or stated == _checksum(found, metadata)
    except (OSError, SafetensorError, AttributeError, RecursionError, RuntimeError, ValueError) as error:
        raise UserError(f"{file} could not be read ({error}); it is missing, cut off or not a safetensors file")
    if metadata.get("kind") != kind:
        raise UserError(f"{file} is not a {kind} file of lofit; name one that a lofit run wrote")
    if not is_as_written:
        raise UserError(f"{file} is not as it was written: its checksum is another one; make it again")
    return found, metadata


def _object(content: Any) -> dict[str, Any]:
    return content if isinstance(content, dict) else {}


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> str:
    """Return a CRC-32 of tensors with their names, types and shapes, and of what the metadata says beside it."""
    found = zlib.crc32(json.dumps(metadata, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        found = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), found)
        found = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, found)
    return f"{found:08x}"


def require_finite(name: str, tensor: Tensor) -> None:
    """Refuse numbers that are not finite."""
    if not tensor.isfinite().all():
        raise UserError(f"its {name} holds numbers that are not finite")
