"""Figures, as PNG files at print quality."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib import font_manager, get_data_path, rc_context, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from lofit_cli.artifacts.files import read_bytes, write_file
from lofit_cli.console import say, visible

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
    """Write `heads_per_layer.png`: how many heads were selected in each layer."""
    figure, axes = new_figure(6, 3)
    axes.bar(range(mask.shape[0]), mask.sum(dim=1).tolist())
    axes.set(xlabel="layer", ylabel="selected heads", title=f"{int(mask.sum())} selected heads by layer")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    save_figure(figure, folder / "heads_per_layer.png")


def plot_training(folder: Path) -> None:
    """Write `training.png` from a run's `history.jsonl` and `validation.jsonl`; say so where these can't be read."""
    try:
        _plot_curves(folder)
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        say(f"note: no picture training.png: the logs in {folder} can't be read ({error})")


def _plot_curves(folder: Path) -> None:
    steps, validation = (_read_lines(folder / name) for name in ("history.jsonl", "validation.jsonl"))
    figure, axes = new_figure(6, 3.5)
    axes.plot([line["step"] for line in steps], [line["task_loss"] for line in steps], alpha=0.5, label="training")
    last_step = {line["epoch"]: line["step"] for line in steps}
    epochs = [last_step[line["epoch"]] for line in validation]
    axes.plot(epochs, [line["loss"] for line in validation], marker="o", label="validation")
    axes.set(xlabel="step", ylabel="loss", title="Training")
    axes.legend()
    save_figure(figure, folder / "training.png")


@contextmanager
def lettering(texts: Iterable[str]) -> Iterator[Callable[[str], str]]:
    """Draw these texts as they are: `$` starts no formula, and letters are of the first font that has them.

    Yields:
        What makes a text one that can be drawn: control characters, and letters that no font has, are written out.
    """
    fonts = _fonts_of(frozenset("".join(map(visible, texts))))

    def drawable(text: str) -> str:
        return "".join(letter if letter.isascii() or letter in fonts else _number(letter) for letter in visible(text))

    families = [*rcParams["font.family"], *dict.fromkeys(filter(None, fonts.values()))]
    with rc_context({"font.family": families, "text.parse_math": False}):
        yield drawable


def _number(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


@cache
def _fonts_of(letters: frozenset[str]) -> dict[str, str]:
    """Return for each letter the name of a font that has it, empty for the default font; none where there is none."""
    found: dict[str, str] = {}
    for name, file in (("", font_manager.findfont(font_manager.FontProperties())), *_system_fonts()):
        if missing := letters - found.keys():
            font = font_manager.get_font(file)
            found |= {letter: name for letter in missing if font.get_char_index(ord(letter))}
    return found


def _system_fonts() -> Iterator[tuple[str, str]]:
    """Yield names and files, without matplotlib's own: these are for formulas, or have a box for everything."""
    own = get_data_path()
    for font in font_manager.fontManager.ttflist:
        if not font.fname.startswith(own):
            yield font.name, font.fname


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
    return [json.loads(line) for line in read_bytes(file).splitlines()]
