"""Where the rows of a comparison stand among random selections of as many heads: a table and a picture."""

import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from lofit_cli.analysis.comparison import ComparedMetric, ComparedRow, ComparedSection
from lofit_cli.report.comparison.words import (
    amount,
    describe_section,
    interval_text,
    named_rows,
    percent,
)
from lofit_cli.report.plots import DPI, lettering, new_figure, save_figure
from lofit_cli.report.tables import Cell, Column, Entry, Table

LINE_LETTERS = 40
"""The longest line of a row's name beside its dots."""
NOTE = (
    "draws: the mean over random selections of as many heads, trained in the same way, and their range. worse: the "
    "share of them whose mean is lower, or further from the best where that is not the highest; one that is as good "
    "counts half. Its interval (Clopper-Pearson) allows for how "
    "few were drawn, and takes the questions as they are."
)


def draws_table(section: ComparedSection) -> Table | None:
    """Return a line for each row and metric that stands among draws; None where none does."""
    found = [(name, row) for name, row in named_rows(section) if _standing(row)]
    if not found:
        return None
    heads = ("metric", "%", "draws [range]", "worse % [95 %]")
    columns = [Column("run", "left"), *(Column(head, "left", is_whole=True) for head in heads)]
    rows = [_row(name, row) for name, row in found]
    records = [record for _, row in found for record in _records(section, row)]
    return Table(f"{describe_section(section)}; among random heads", columns, rows, NOTE, records)


def _standing(row: ComparedRow) -> dict[str, ComparedMetric]:
    return {name: metric for name, metric in row.metrics.items() if metric.standing}


def _row(name: str, row: ComparedRow) -> list[Entry]:
    metrics = _standing(row)
    lines = [
        (Cell(key.upper()), Cell(amount(metric.mean, metric.unit)), _draws_cell(metric), _share_cell(metric))
        for key, metric in metrics.items()
    ]
    numbers = {len(metric.standing.draws) for metric in metrics.values() if metric.standing}
    about = [Cell(name, is_bold=True), Cell(f"among {max(numbers)} draws")]
    return [about, *zip(*lines, strict=True)]


def _draws_cell(metric: ComparedMetric) -> Cell:
    draws = np.array(metric.standing.draws if metric.standing else ())
    low, high = (amount(float(end), metric.unit) for end in (draws.min(), draws.max()))
    return Cell(amount(float(draws.mean()), metric.unit), f"[{low}, {high}]")


def _share_cell(metric: ComparedMetric) -> Cell:
    standing = metric.standing
    return Cell(percent(standing.share_below), interval_text(standing.interval)) if standing else Cell("")


def _records(section: ComparedSection, row: ComparedRow) -> list[dict[str, Any]]:
    return [
        section.facts
        | {"row": row.label, "metric": name, "mean": metric.mean, "num_draws": len(found.draws)}
        | {"share_worse": found.share_below, "share_worse_low": found.interval.low}
        | {"share_worse_high": found.interval.high, "draws": " ".join(map(str, found.draws))}
        for name, metric in _standing(row).items()
        if (found := metric.standing)
    ]


def plot_draws(section: ComparedSection, file: Path) -> bool:
    """Write a picture of the headline metric: a dot a draw, a line a row's own mean; return whether that was done."""
    headline = section.metrics[0]
    found = [(name, row.metrics[headline]) for name, row in named_rows(section) if row.metrics[headline].standing]
    if not found:
        return False
    title = f"{describe_section(section)}: among random heads"
    with lettering([title, headline.upper(), *(name for name, _ in found)]) as drawable:
        figure, axes = new_figure(8, 1.4 + 0.6 * len(found))
        for place, (_, metric) in enumerate(found):
            draws = metric.unit.factor * np.array(metric.standing.draws if metric.standing else ())
            axes.plot(draws, np.full(len(draws), place), "o", color="tab:gray", alpha=0.5, label="a random selection")
            axes.plot([metric.unit.factor * metric.mean], [place], "|", color="tab:blue", ms=22, mew=3, label="the row")
        labels = [textwrap.fill(drawable(name), LINE_LETTERS) for name, _ in found]
        axes.set(yticks=range(len(found)), yticklabels=labels, ylim=(len(found) - 0.5, -0.5), title=drawable(title))
        axes.set_xlabel(drawable(f"{headline.upper()} ({found[0][1].unit.of_mean})"))
        axes.legend(*_first_two(axes.get_legend_handles_labels()), fontsize="small")
        return save_figure(figure, file, DPI)


def _first_two(legend: tuple[list[Any], list[Any]]) -> tuple[list[Any], list[Any]]:
    handles, labels = legend
    return handles[:2], labels[:2]
