"""Draws that a run which was cut off can take as they are, told from those that it can't."""

from pathlib import Path
from typing import Any

from lofit_cli.artifacts.files import file_hash, read_sealed, seal, write_json

SEAL = "sealed.json"
"""Written last into a draw's folder: what the draw is made of, and what its files were."""


def seal_draw(folder: Path, key: str) -> None:
    """Say that a draw's folder is whole.

    Args:
        key: of all that the draw's run is made of.
    """
    write_json(folder / SEAL, seal(_seal_of(folder, key)))


def is_sound(folder: Path, key: str) -> bool:
    """Return whether a draw's folder is as a run of this key wrote it, to the byte."""
    stated = read_sealed(folder / SEAL)
    try:
        return bool(stated) and stated == seal(_seal_of(folder, key))
    except OSError:
        return False


def _seal_of(folder: Path, key: str) -> dict[str, Any]:
    files = [file for file in sorted(folder.iterdir()) if file.name != SEAL]
    return {"draw": folder.name, "content_key": key, "file_hashes": {file.name: file_hash(file) for file in files}}
