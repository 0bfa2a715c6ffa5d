"""Random selections beside the selected heads: a folder each, with what the run itself has of the selected ones."""

from pathlib import Path

DRAWS = "draws"
"""The folder of a run directory that holds a folder for each draw."""


def draw_folder(folder: Path, number: int) -> Path:
    """Return where a run directory keeps a draw, counted from 0."""
    return folder / DRAWS / f"{number:04d}"


def list_draws(folder: Path, name: str) -> list[Path]:
    """Return the files of this name that a run directory has of its draws, in their order."""
    return sorted((folder / DRAWS).glob(f"*/{name}"))
