"""Random selections beside the selected heads: a folder each, with what the run itself has of the selected ones."""

from pathlib import Path

import torch
from torch import Tensor

from lofit_cli.artifacts.geometry import Geometry

DRAWS = "draws"
"""The folder of a run directory that holds a folder for each draw."""


def draw_scores(geometry: Geometry, num_draws: int, seed: int) -> Tensor:
    """Return uniform scores for each draw, (num_draws, num_layers, max_heads); minus infinity where no head is."""
    generator = torch.Generator().manual_seed(seed)
    # The first is what `selector=random` selects with this seed.
    scores = torch.rand(1 + num_draws, geometry.num_layers, geometry.max_heads, generator=generator)[1:]
    return scores.masked_fill(~geometry.every_head(), -torch.inf)


def draw_folder(folder: Path, number: int) -> Path:
    """Return where a run directory keeps a draw, counted from 0."""
    return folder / DRAWS / f"{number:04d}"


def list_draws(folder: Path, name: str) -> list[Path]:
    """Return the files of this name that a run directory has of its draws, in their order."""
    return sorted((folder / DRAWS).glob(f"*/{name}"))
