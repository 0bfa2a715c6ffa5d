"""Checksums of what runs leave, so that a bit that has changed on a disk is told and never measured."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lofit_cli.artifacts.files import content_hash, file_hash, read_json
from lofit_cli.errors import UserError

CHECKSUM = "checksum"
HASHED = ("seen_items.json", "metrics.json", "predictions.parquet", "head_mask.json", "head_mask.safetensors")
"""The files of a finished run whose hashes its manifest states, where they are there; an intervention has a field."""


def seal(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object of JSON with a checksum of the rest of it, in place of any that it has."""
    rest = json.loads(json.dumps({key: value for key, value in content.items() if key != CHECKSUM}))
    return {**rest, CHECKSUM: content_hash(rest)}


def is_as_sealed(content: Mapping[str, Any]) -> bool:
    """Return whether an object of JSON is as it was written; one without a checksum is taken as it is."""
    rest = {key: value for key, value in content.items() if key != CHECKSUM}
    return CHECKSUM not in content or content[CHECKSUM] == content_hash(rest)


def read_sealed(file: Path) -> dict[str, Any]:
    """Return the object of JSON in a file; an empty one where it can't be read or is not as it was written."""
    try:
        content = read_json(file)
        return content if isinstance(content, dict) and is_as_sealed(content) else {}
    except (UserError, RecursionError):
        return {}


def hash_files(folder: Path) -> dict[str, str]:
    """Return the hash of each file of a run that is to be checked before it is used."""
    return {name: file_hash(folder / name) for name in HASHED if (folder / name).is_file()}
