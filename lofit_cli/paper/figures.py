"""The paper's figures that are not made of scores alone: heads by layer, and matrices of tasks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lofit_cli.report.plots import lettering, new_figure, save_figure

BARS_WIDTH = 0.8
DARK = 0.55
"""From this share of the colour scale on, a cell is dark enough for white text."""


@dataclass(frozen=True, eq=False)
class Matrix:
    """A heat map with a text in each cell.

    Attributes:
        values: (num_rows, num_columns), nan where there is nothing; the colours.
        texts: as many.
    """

    title: str
    row_labels: Sequence[str]
    column_labels: Sequence[str]
    values: NDArray[np.float64]
    texts: Sequence[Sequence[str]]


def plot_layer_shares(shares: Mapping[str, Sequence[float]], title: str, file: Path) -> None:
    """Write a bar chart of each task's share of heads (a fraction) in each layer, tasks side by side."""
    with lettering([*shares, title]) as drawable:
        figure, axes = new_figure(8, 3.2)
        width = BARS_WIDTH / len(shares)
        for i, of_layers in enumerate(shares.values()):
            left = np.arange(len(of_layers)) + (i - (len(shares) - 1) / 2) * width
            # A legend leaves out what begins with an underscore, unless it is told each entry.
            axes.bar(left, [100 * share for share in of_layers], width)
        axes.set(xlabel="layer", ylabel="selected heads (%)", title=drawable(title))
        axes.margins(x=0.01)
        axes.legend(axes.containers, [*map(drawable, shares)])
        _save(figure, file)


def plot_matrices(matrices: Sequence[Matrix], file: Path) -> None:
    """Write heat maps side by side, each with colours of its own."""
    num_columns = sum(len(matrix.column_labels) for matrix in matrices)
    height = 1.6 + 0.55 * max(len(matrix.row_labels) for matrix in matrices)
    texts = [text for matrix in matrices for text in (matrix.title, *matrix.row_labels, *matrix.column_labels)]
    with lettering(texts) as drawable:
        figure = Figure(figsize=(1.2 * len(matrices) + 1.1 * num_columns, height), layout="constrained")
        for axes, matrix in zip(figure.subplots(1, len(matrices), squeeze=False)[0], matrices, strict=True):
            _draw_matrix(axes, matrix, drawable)
        _save(figure, file)


def _draw_matrix(axes: Axes, matrix: Matrix, drawable: Callable[[str], str]) -> None:
    shown = np.ma.masked_invalid(matrix.values)
    axes.set_facecolor("0.92")
    axes.imshow(shown, cmap="Blues", aspect="auto")
    darkest, lightest = shown.max(), shown.min()
    rows, columns = ([*map(drawable, labels)] for labels in (matrix.row_labels, matrix.column_labels))
    axes.set(xticks=range(len(columns)), yticks=range(len(rows)), xticklabels=columns, yticklabels=rows)
    axes.tick_params(axis="x", labelrotation=30)
    axes.set_title(drawable(matrix.title), fontsize="medium")
    for (row, column), value in np.ndenumerate(matrix.values):
        is_dark = bool(value - lightest > DARK * (darkest - lightest))
        color = "white" if is_dark else "black"
        axes.text(column, row, matrix.texts[row][column], ha="center", va="center", color=color)


def _save(figure: Figure, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, file)
