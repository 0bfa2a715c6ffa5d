"""A description's figures: how far each edit moves the hidden states, layer by layer, and what the model says next."""

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from lofit_cli.artifacts.description import NULL, RUN, Description, Descriptions
from lofit_cli.report.plots import lettering, new_figure, save_figure


def plot_differences(found: Descriptions, file: Path) -> bool:
    """Write the length of each edit's difference by layer; return whether that could be done."""

    def draw(axes: Axes, labels: Sequence[str]) -> None:
        _draw_lines(axes, found.rows, labels, lambda row: row.layer_norms)
        axes.axvline(found.layer, color="0.6", linewidth=0.8, linestyle=":")
        axes.set(xlabel="after layer", ylabel="difference / usual state", title="How far the hidden states are moved")

    return _plot(found, draw, file)


def plot_divergence(found: Descriptions, file: Path) -> bool:
    """Write how far the next tokens part, by position of the continuation; return whether that could be done."""

    def draw(axes: Axes, labels: Sequence[str]) -> None:
        _draw_lines(axes, found.rows, labels, lambda row: row.shift.kl)
        axes.set(xlabel="token of the continuation", ylabel="KL (nats)", title="How far the next tokens part")

    return _plot(found, draw, file)


def _plot(found: Descriptions, draw: Callable[[Axes, Sequence[str]], None], file: Path) -> bool:
    with lettering([row.label for row in found.rows]) as drawable:
        figure, axes = new_figure(7, 3.6)
        draw(axes, [drawable(row.label) for row in found.rows])
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(fontsize="small")
        return save_figure(figure, file)


def _draw_lines(
    axes: Axes,
    rows: Sequence[Description],
    labels: Sequence[str],
    values: Callable[[Description], Sequence[float]],
) -> None:
    for row, label in zip(rows, labels, strict=True):
        style = (
            {"linestyle": "--", "color": "0.5"} if row.kind == NULL else {"linewidth": 2.2 if row.kind == RUN else 1.2}
        )
        found = values(row)
        axes.plot(range(len(found)), found, marker=".", label=label, **style)
