"""Several tasks in one wide table: a line a row label, a column a task and headline metric, as in LoFiT's Table 1."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lofit_cli.analysis.comparison import ComparedMetric, ComparedRow, ComparedSection
from lofit_cli.artifacts.predictions import IDEALS, PERCENT, merit
from lofit_cli.report.comparison.words import amount, describe_model, name_sections, percent, shown_names
from lofit_cli.report.tables import Cell, Entry, Table, left_and_right

HEADLINES = ("mc1", "mc2")
"""The metrics that multiple-choice tasks are known by; any other task has its first."""
PARTIAL = "+"
SETTING = ("model_hash", "dtype", "quantization", "split", "first_tokens", "chat_template", "system_prompt", "num_test")
"""What the sections of a wide table have in common."""
NOTE = (
    "*: p < 0.05 against the task's baseline (Holm, over the tests of its own table). "
    f"{PARTIAL}: not on all folds of the column."
)


@dataclass(frozen=True)
class Measured:
    """A row's metric in a column, and whether the row covers all folds of the column's table.

    Attributes:
        merit: what is the larger the better the metric's mean is.
        rises: whether a higher mean is a better one.
    """

    metric: ComparedMetric
    covers_all: bool
    merit: float
    rises: bool

    @property
    def marks(self) -> str:
        """Return the marks that the note explains."""
        return ("*" if self.metric.is_significant else "") + ("" if self.covers_all else PARTIAL)


@dataclass(frozen=True)
class Summary:
    """The sections of one model, dtype and split, side by side.

    Attributes:
        columns: headings such as `truthfulqa MC1`.
        lines: row label -> its cell in each column, None where it was not measured.
        repeats: whether a task stands in it under two protocols, so that an average would count it twice.
    """

    title: str
    facts: dict[str, Any]
    columns: tuple[str, ...]
    lines: dict[str, tuple[Measured | None, ...]]
    repeats: bool

    def named_lines(self) -> list[tuple[str, tuple[Measured | None, ...]]]:
        """Return the lines with names that are short enough to show."""
        return list(zip(shown_names(list(self.lines)), self.lines.values(), strict=True))


def summarise_sections(sections: Sequence[ComparedSection]) -> list[Summary]:
    """Return a wide table for each model, dtype and split that has two sections or more."""
    parts: dict[tuple[str, ...], list[ComparedSection]] = {}
    for section in sections:
        key = tuple(str(section.facts[name]) for name in SETTING)
        parts.setdefault(key, []).append(section)
    return [_summarise(part) for part in parts.values() if len(part) > 1]


def average(summary: Summary, cells: Sequence[Measured | None]) -> float | None:
    """Return the mean over all columns, as the paper's last column is.

    None where one is missing, a task repeats, or a column is in another unit than percent or not the better the higher.
    """
    means = [cell.metric.mean for cell in cells if cell and cell.metric.unit == PERCENT and cell.rises]
    return sum(means) / len(means) if len(means) == len(cells) and not summary.repeats else None


def summary_table(summary: Summary) -> Table:
    """Return a summary in percent, the best of each column in bold: of those that cover all its folds."""
    best = [
        max((cell.merit for cell in column if cell and cell.covers_all), default=None)
        for column in zip(*summary.lines.values(), strict=True)
    ]
    rows: list[list[Entry]] = [
        [name, *(_cell(cell, top) for cell, top in zip(cells, best, strict=True)), average_text(summary, cells)]
        for name, cells in summary.named_lines()
    ]
    columns = left_and_right("run", *summary.columns, "average")
    return Table(summary.title, columns, rows, NOTE, summary_records(summary))


def _cell(cell: Measured | None, best: float | None) -> Cell:
    if cell is None:
        return Cell("")
    return Cell(amount(cell.metric.mean, cell.metric.unit), "", cell.marks, cell.covers_all and cell.merit == best)


def summary_records(summary: Summary) -> list[dict[str, Any]]:
    """Return a record for each line, as fractions, with the adjusted p-values."""
    records = []
    for label, cells in summary.lines.items():
        record = summary.facts | {"row": label}
        for name, cell in zip(summary.columns, cells, strict=True):
            record |= {name: cell and cell.metric.mean, f"{name} p_holm": cell and cell.metric.adjusted_p}
            record[f"{name} all_folds"] = cell and cell.covers_all
        records.append(record | {"average": average(summary, cells)})
    return records


def _summarise(sections: Sequence[ComparedSection]) -> Summary:
    cells = [
        (name, metric, section)
        for name, section in zip(name_sections(sections), sections, strict=True)
        for metric in [m for m in section.metrics if m in HEADLINES] or section.metrics[:1]
    ]
    columns = [{row.label: _measured(row, metric, section) for row in section.rows} for _, metric, section in cells]
    labels = dict.fromkeys(label for column in columns for label in column)
    lines = {label: tuple(column.get(label) for column in columns) for label in labels}
    facts = {key: sections[0].facts[key] for key in ("model", "dtype", "split")}
    if sections[0].facts["quantization"]:
        facts["quantization"] = sections[0].facts["quantization"]
    title = f"{describe_model(sections[0].facts)}, {facts['split']} split"
    repeats = len({section.facts["task"] for section in sections}) < len(sections)
    return Summary(title, facts, tuple(f"{name} {metric.upper()}" for name, metric, _ in cells), lines, repeats)


def _measured(row: ComparedRow, metric: str, section: ComparedSection) -> Measured:
    found = row.metrics[metric]
    return Measured(found, row.folds == section.folds, merit(metric, found.mean), metric not in IDEALS)


def average_text(summary: Summary, cells: Sequence[Measured | None]) -> str:
    """Return the average in percent, marked where a cell does not cover all folds; nothing where there is none."""
    mean = average(summary, cells)
    covers_all = all(cell.covers_all for cell in cells if cell)
    return "" if mean is None else percent(mean) + ("" if covers_all else PARTIAL)
