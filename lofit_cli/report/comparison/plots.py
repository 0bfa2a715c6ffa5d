"""A comparison's figures: means with intervals, and where the differences come from."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.cells import cell_len

from lofit_cli.analysis.categories import FEWEST_QUESTIONS, CategoryMean
from lofit_cli.analysis.comparison import ComparedRow, ComparedSection
from lofit_cli.artifacts.predictions import IDEALS, PERCENT, metric_unit
from lofit_cli.report.comparison.words import describe_section, fully_named_rows, shown_names
from lofit_cli.report.plots import lettering, new_figure, save_figure

Floats = NDArray[np.float64]

DPI = 150
MAX_CATEGORIES = 40
"""As many as can still be read; those with the most questions are shown, all of them are in categories.csv."""
INCHES_A_LETTER = 0.065
"""How wide the letters of the labels are, about."""
LINE_LETTERS = 40
"""The longest line of a row's name beside its bar."""
STRONGEST = 4.0
"""Where the scale of colours ends: at twice what is about p = 0.05 alone, the same in all pictures."""
GREY = "0.85"
LIGHT_SHARE = 0.6
"""From this share of the scale on, a cell is so dark that its number must be white."""


def plot_means(section: ComparedSection, file: Path) -> bool:
    """Write a panel for each metric with a bar for each row, in percent; return whether that could be done."""
    title, names = f"{describe_section(section)}; 95 % intervals", [name for name, _ in fully_named_rows(section)]
    with lettering([title, *names, *map(str.upper, section.metrics)]) as drawable:
        labels = [wrap_label(name) for name in shown_names([*map(drawable, names)])]
        lines = 1 + max(label.count("\n") for label in labels)
        width = max(7.0, 0.7 + 1.3 * INCHES_A_LETTER * _longest_line(labels) + 2.6 * len(section.metrics))
        figure = Figure(figsize=(width, 1.5 + max(0.4, 0.2 * lines) * len(labels)), layout="constrained")
        panels = figure.subplots(1, len(section.metrics), sharey=True, squeeze=False)[0]
        for axes, metric in zip(panels, section.metrics, strict=True):
            _draw_bars(axes, section, metric)
            unit = section.rows[0].metrics[metric].unit.of_mean
            axes.set(xlabel=drawable(f"{metric.upper()} ({unit})"), yticks=range(len(labels)), yticklabels=labels)
        panels[0].invert_yaxis()
        figure.suptitle(textwrap.fill(drawable(title), int(width / INCHES_A_LETTER)), fontsize="small")
        return save_figure(figure, file, DPI)


def _draw_bars(axes: Axes, section: ComparedSection, metric: str) -> None:
    found = [row.metrics[metric] for row in section.rows]
    # Rounding can put the end of an interval without any width on the wrong side of the mean.
    lengths = [(max(0.0, m.mean - m.interval.low), max(0.0, m.interval.high - m.mean)) for m in found]
    factor = found[0].unit.factor
    # An interval without an end has no bar to draw.
    ends = factor * np.nan_to_num(np.array(lengths).T, posinf=0.0)
    colours = ["tab:gray" if row.is_baseline else "tab:blue" for row in section.rows]
    axes.barh(range(len(found)), [factor * m.mean for m in found], xerr=ends, capsize=3, color=colours, alpha=0.7)
    axes.axvline(factor * found[0].mean, color="tab:gray", linewidth=0.8, linestyle=":")


def wrap_label(label: str) -> str:
    """Return a name with its settings on lines of their own, none of them too long."""
    settings = label.replace(", ", ",\n").splitlines()
    return "\n".join(line for setting in settings for line in textwrap.wrap(setting, LINE_LETTERS))


def plot_categories(section: ComparedSection, file: Path) -> bool:
    """Write a heat map of the headline metric's difference to the baseline: categories x rows, in points.

    A cell's number is the difference; its colour says how far beyond chance that is (`flip_z`), so that one question
    gained doesn't outshine fifty, and is grey with fewer than `FEWEST_QUESTIONS` paired questions.

    Returns:
        Whether that could be done and there was something to show: two categories or more and a row that is paired with
        the baseline.
    """
    metric = section.metrics[0]
    rows = [(name, row) for name, row in fully_named_rows(section) if row.metrics[metric].paired]
    sizes = _category_sizes(section)
    if not rows or len(sizes) < 2:
        return False
    shown = sorted(sizes, key=lambda name: (-sizes[name], name))[:MAX_CATEGORIES]
    cells = [[_find_category(row, metric, name) for _, row in rows] for name in shown]
    left_out = f", the {len(shown)} largest of {len(sizes)}" if len(shown) < len(sizes) else ""
    unit = metric_unit(metric).of_difference
    gained = f"{unit} more than the baseline" if metric in IDEALS else f"{unit} gained on the baseline"
    title = f"{metric.upper()}: {gained}\nby category (questions){left_out}"
    categories = [f"{text} ({sizes[name]})" for text, name in zip(shown_names(shown), shown, strict=True)]
    return _draw_categories(cells, categories, [name for name, _ in rows], title, metric, file)


def _draw_categories(
    cells: Sequence[Sequence[CategoryMean | None]],
    categories: Sequence[str],
    names: Sequence[str],
    title: str,
    metric: str,
    file: Path,
) -> bool:
    with lettering([title, *categories, *names]) as drawable:
        columns, rows = (shown_names([*map(drawable, texts)]) for texts in (names, categories))
        columns = [*map(wrap_label, columns)]
        below, beside = (INCHES_A_LETTER * _longest_line(labels) for labels in (columns, rows))
        height = max(3.2, 1.5 + 0.7 * below + 0.24 * len(rows))
        figure, axes = new_figure(3 + beside + 0.55 * len(columns), height)
        _draw_heat_map(figure, axes, cells, metric)
        axes.set(yticks=range(len(rows)), yticklabels=rows)
        axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_title("\n".join(map(drawable, title.split("\n"))), fontsize=10)
        return save_figure(figure, file, DPI)


def _longest_line(labels: Sequence[str]) -> int:
    """Return the widest line in letters; Chinese, Japanese and Korean ones count twice."""
    return max(cell_len(line) for label in labels for line in label.splitlines())


def colour_strengths(cells: Sequence[Sequence[CategoryMean | None]]) -> Floats:
    """Return how strongly to colour each cell, from -1 to 1: nan where there are too few questions to say."""
    found = [[_strength(cell) for cell in row] for row in cells]
    return np.clip(np.array(found, dtype=np.float64) / STRONGEST, -1, 1)


def _strength(cell: CategoryMean | None) -> float:
    if cell is None or cell.evidence is None or cell.num_paired < FEWEST_QUESTIONS:
        return float("nan")
    return cell.evidence


def _draw_heat_map(figure: Figure, axes: Axes, cells: Sequence[Sequence[CategoryMean | None]], metric: str) -> None:
    """Draw (categories, rows), each cell with its difference, in points or nats; white is no difference.

    Where more is not better, the colours are others than those of gains and losses.
    """
    strengths, unit, is_ideal = colour_strengths(cells), metric_unit(metric), metric in IDEALS
    colours = "PuOr" if is_ideal else "RdBu"
    axes.set_facecolor(GREY)
    image = axes.imshow(STRONGEST * strengths, aspect="auto", cmap=colours, vmin=-STRONGEST, vmax=STRONGEST)
    for y, row in enumerate(cells):
        for x, cell in enumerate(row):
            if cell is not None and cell.difference is not None:
                colour = "white" if abs(strengths[y, x]) > LIGHT_SHARE else "black"
                gained = f"{unit.factor * cell.difference:+.{0 if unit == PERCENT else unit.decimals}f}"
                axes.text(x, y, gained, ha="center", va="center", fontsize=7, color=colour)
    axes.tick_params(labelsize=8)
    bar = figure.colorbar(image, shrink=0.9, extend="both")
    bar.set_label(
        f"{'difference' if is_ideal else 'gain'} / its spread by chance\n(grey: under {FEWEST_QUESTIONS} questions)",
        fontsize=8,
    )
    bar.ax.tick_params(labelsize=8)


def _category_sizes(section: ComparedSection) -> dict[str, int]:
    """Return the number of questions of each category, in the row that has the most."""
    sizes: dict[str, int] = {}
    for row in section.rows:
        for found in row.metrics[section.metrics[0]].categories:
            sizes[found.category] = max(sizes.get(found.category, 0), found.num_questions)
    return sizes


def _find_category(row: ComparedRow, metric: str, category: str) -> CategoryMean | None:
    return next((found for found in row.metrics[metric].categories if found.category == category), None)
