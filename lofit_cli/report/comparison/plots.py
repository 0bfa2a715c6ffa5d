"""A comparison's figures: means with intervals, and where the differences come from."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.cells import cell_len

from lofit_cli.analysis.comparison import ComparedRow, ComparedSection
from lofit_cli.report.comparison.words import describe_section, fully_named_rows, shown_names
from lofit_cli.report.plots import lettering, new_figure, save_figure

DPI = 150
MAX_CATEGORIES = 40
"""As many as can still be read; those with the most questions are shown, all of them are in categories.csv."""
INCHES_A_LETTER = 0.065
"""How wide the letters of the labels are, about."""
LINE_LETTERS = 40
"""The longest line of a row's name beside its bar."""
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
    differences = np.array([[_difference(row, metric, name) for _, row in rows] for name in shown])
    left_out = f", the {len(shown)} largest of {len(sizes)}" if len(shown) < len(sizes) else ""
    title = f"{metric.upper()}: points gained on the baseline\nby category (questions){left_out}"
    categories = [f"{text} ({sizes[name]})" for text, name in zip(shown_names(shown), shown, strict=True)]
    return _draw_categories(differences, categories, [name for name, _ in rows], title, file)


def _draw_categories(
    differences: np.ndarray, categories: Sequence[str], names: Sequence[str], title: str, file: Path
) -> bool:
    with lettering([title, *categories, *names]) as drawable:
        columns, rows = (shown_names([*map(drawable, texts)]) for texts in (names, categories))
        columns = [*map(wrap_label, columns)]
        below, beside = (INCHES_A_LETTER * _longest_line(labels) for labels in (columns, rows))
        figure, axes = new_figure(3 + beside + 0.55 * len(columns), 1.5 + 0.7 * below + 0.24 * len(rows))
        _draw_heat_map(figure, axes, differences)
        axes.set(yticks=range(len(rows)), yticklabels=rows)
        axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_title("\n".join(map(drawable, title.split("\n"))), fontsize=10)
        return save_figure(figure, file, DPI)


def _longest_line(labels: Sequence[str]) -> int:
    """Return the widest line in letters; Chinese, Japanese and Korean ones count twice."""
    return max(cell_len(line) for label in labels for line in label.splitlines())


def _draw_heat_map(figure: Figure, axes: Axes, differences: np.ndarray) -> None:
    """Draw (categories, rows) of differences in points, each with its number; white is no difference."""
    limit = max(float(np.nanmax(np.abs(differences), initial=0.0)), 1.0)
    image = axes.imshow(differences, aspect="auto", cmap="RdBu", vmin=-limit, vmax=limit)
    for (y, x), value in np.ndenumerate(differences):
        if np.isfinite(value):
            colour = "white" if abs(value) > LIGHT_SHARE * limit else "black"
            axes.text(x, y, f"{round(value):+d}", ha="center", va="center", fontsize=7, color=colour)
    axes.tick_params(labelsize=8)
    figure.colorbar(image, label="points", shrink=0.6)


def _category_sizes(section: ComparedSection) -> dict[str, int]:
    """Return the number of questions of each category, in the row that has the most."""
    sizes: dict[str, int] = {}
    for row in section.rows:
        for found in row.metrics[section.metrics[0]].categories:
            sizes[found.category] = max(sizes.get(found.category, 0), found.num_questions)
    return sizes


def _difference(row: ComparedRow, metric: str, category: str) -> float:
    """Return a row's difference to the baseline as a person reads it, nan where none is paired."""
    for found in row.metrics[metric].categories:
        if found.category == category and found.difference is not None:
            return row.metrics[metric].unit.factor * found.difference
    return float("nan")
