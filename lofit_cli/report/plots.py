"""Figures, as PNG files at print quality."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from lofit_cli.artifacts.files import write_file
from lofit_cli.console import say

if TYPE_CHECKING:
    # Comparisons draw as well, and have no need of torch, which takes seconds to import.
    from torch import Tensor

DPI = 200


def plot_head_scores(scores: Tensor, mask: Tensor, folder: Path) -> None:
    """Write `head_scores.png`: layers x heads, with the selected heads framed."""
    num_layers, heads_per_layer = scores.shape
    figure, axes = new_figure(2 + 0.3 * heads_per_layer, 1.5 + 0.2 * num_layers)
    # Where a layer has no such head there is no score, and no colour.
    axes.set_facecolor("0.92")
    image = axes.imshow(scores.numpy(), aspect="auto", origin="lower", cmap="viridis")
    for layer, head in mask.nonzero().tolist():
        axes.add_patch(Rectangle((head - 0.5, layer - 0.5), 1, 1, fill=False, edgecolor="red"))
    axes.set(xlabel="head", ylabel="layer", title="Head scores (selected heads framed)")
    figure.colorbar(image, label="score")
    save_figure(figure, folder / "head_scores.png")


def plot_heads_per_layer(mask: Tensor, folder: Path) -> None:
    """Write `heads_per_layer.png`: how many heads are selected in each layer."""
    figure, axes = new_figure(6, 3)
    axes.bar(range(mask.shape[0]), mask.sum(dim=1).tolist())
    axes.set(xlabel="layer", ylabel="selected heads", title=f"{int(mask.sum())} heads by layer")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    save_figure(figure, folder / "heads_per_layer.png")


def plot_training(folder: Path) -> None:
    """Write `training.png` from a run's `history.jsonl` and `validation.jsonl`."""
    steps, validation = (_read_lines(folder / name) for name in ("history.jsonl", "validation.jsonl"))
    figure, axes = new_figure(6, 3.5)
    axes.plot([line["step"] for line in steps], [line["task_loss"] for line in steps], alpha=0.5, label="training")
    last_step = {line["epoch"]: line["step"] for line in steps}
    epochs = [last_step[line["epoch"]] for line in validation]
    axes.plot(epochs, [line["loss"] for line in validation], marker="o", label="validation")
    axes.set(xlabel="step", ylabel="loss", title="Training")
    axes.legend()
    save_figure(figure, folder / "training.png")


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """Return an empty figure of this size in inches, and its axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def save_figure(figure: Figure, file: Path, dpi: int = DPI) -> bool:
    """Write a figure as a PNG file; return whether that could be done.

    What can't be drawn or written is said and no more: a picture is not worth the hours of the run that it shows.
    """
    try:
        write_file(file, lambda path: figure.savefig(path, dpi=dpi, format="png"))
    except Exception as error:
        say(f"note: no picture {file.name}: {str(error).strip().partition(chr(10))[0]}")
        return False
    return True


def _read_lines(file: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in file.read_text().splitlines()]
