"""Small pictures inside a page, drawn as SVG so that they take the page's colours, light or dark."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from markupsafe import Markup
from matplotlib import colormaps
from matplotlib.image import imsave

from lofit_cli.artifacts.head_scores import HeadScores

MAX_POINTS = 240
"""Of a longer curve, means of neighbouring steps are drawn."""
COLOURS = "viridis"
TICKS = 8
"""About as many numbers stand along an axis."""


@dataclass(frozen=True)
class HeatMap:
    """Layers x heads in units of a cell, layer 0 below, as an image of one pixel a head with frames over it.

    Attributes:
        image: the address of the PNG.
        frames: (x, y, layer, head, score) of each selected head.
        layers, heads: the numbers along the axes.
        low, high: the least and the greatest score.
    """

    num_layers: int
    num_heads: int
    image: str
    frames: list[tuple[int, int, int, int, float]]
    layers: list[int]
    heads: list[int]
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """A training curve in a box of 100 x 100, y downwards.

    Attributes:
        training, validation: the points as SVG writes them.
        low, high: the least and the greatest loss.
    """

    training: str
    validation: list[tuple[float, float]]
    first: float
    last: float
    low: float
    high: float


def draw_heat_map(heads: HeadScores) -> HeatMap:
    """Return the picture of a selection's scores; heads without a score have no colour."""
    known = np.isfinite(heads.scores)
    num_layers, num_heads = heads.scores.shape
    low, high = float(heads.scores[known].min()), float(heads.scores[known].max())
    shares = np.where(known, (heads.scores - low) / ((high - low) or 1.0), 0.0)
    pixels = colormaps[COLOURS](shares)
    pixels[..., 3] = known
    buffer = BytesIO()
    imsave(buffer, pixels[::-1], format="png")
    frames = [
        (int(head), int(num_layers - 1 - layer), int(layer), int(head), float(heads.scores[layer, head]))
        for layer, head in zip(*heads.mask.nonzero(), strict=True)
    ]
    image = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return HeatMap(num_layers, num_heads, image, frames, _ticks(num_layers), _ticks(num_heads), low, high)


def _ticks(count: int) -> list[int]:
    return list(range(0, count, max(1, -(-count // TICKS))))


def draw_curve(training: Sequence[tuple[float, float]], validation: Sequence[tuple[float, float]]) -> Curve:
    """Return a curve over steps: a line for the training loss, a mark for each look at the validation split."""
    line = _thin(training)
    steps, losses = (np.array([point[i] for point in (*line, *validation)]) for i in (0, 1))
    first, last, low, high = (float(found) for found in (steps.min(), steps.max(), losses.min(), losses.max()))

    def place(point: tuple[float, float]) -> tuple[float, float]:
        across, up = (point[0] - first) / ((last - first) or 1.0), (point[1] - low) / ((high - low) or 1.0)
        return round(100 * across, 2), round(100 - 100 * up, 2)

    points = " ".join(f"{x:g},{y:g}" for x, y in map(place, line))
    return Curve(points, [place(point) for point in validation], first, last, low, high)


def _thin(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return means of as many neighbouring points as it takes for a short curve."""
    parts = np.array_split(np.array(points, dtype=np.float64).reshape(-1, 2), min(len(points), MAX_POINTS) or 1)
    return [(float(part[:, 0].mean()), float(part[:, 1].mean())) for part in parts if len(part)]


def colour_ramp() -> Markup:
    """Return the heat map's colours from low to high, as CSS lists them."""
    colours = [colormaps[COLOURS](share) for share in np.linspace(0, 1, 6)]
    return Markup(", ".join("#" + "".join(f"{round(255 * part):02x}" for part in c[:3]) for c in colours))  # noqa: S704
