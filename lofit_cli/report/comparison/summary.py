"""Several tasks in one wide table: a line a row label, a column a task and headline metric, as in LoFiT's Table 1."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from lofit_cli.analysis.comparison import ComparedMetric, ComparedSection
from lofit_cli.console import show
from lofit_cli.report.comparison.tables import markdown_row
from lofit_cli.report.comparison.words import name_sections, percent
from lofit_cli.report.latex import STAR_NOTE, bold_if, escape_latex, latex_table

HEADLINES = ("mc1", "mc2")
"""The metrics that multiple-choice tasks are known by; any other task has its first."""
PARTIAL = "+"
NOTE = (
    "*: p < 0.05 against the task's baseline (Holm, over the tests of its own table). "
    f"{PARTIAL}: not on all folds of the column."
)
LATEX_NOTE = f"{STAR_NOTE} $^{{{PARTIAL}}}$: not on all folds of the column."


@dataclass(frozen=True)
class Cell:
    """A row's metric in a column, and whether the row covers all folds of the column's table."""

    metric: ComparedMetric
    covers_all: bool

    @property
    def text(self) -> str:
        """Return the mean in percent with the marks that the note explains."""
        return f"{percent(self.metric.mean)}{self.marks}"

    @property
    def marks(self) -> str:
        """Return the marks alone."""
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
    lines: dict[str, tuple[Cell | None, ...]]
    repeats: bool


def summarise_sections(sections: Sequence[ComparedSection]) -> list[Summary]:
    """Return a wide table for each model, dtype and split that has two sections or more."""
    parts: dict[tuple[str, str, str], list[ComparedSection]] = {}
    for section in sections:
        key = (section.facts["model_hash"], section.facts["dtype"], section.facts["split"])
        parts.setdefault(key, []).append(section)
    return [_summarise(part) for part in parts.values() if len(part) > 1]


def average(summary: Summary, cells: Sequence[Cell | None]) -> float | None:
    """Return the mean over all columns, as the paper's last column is; None where one is missing or a task repeats."""
    means = [cell.metric.mean for cell in cells if cell]
    return sum(means) / len(means) if len(means) == len(cells) and not summary.repeats else None


def print_summary(summary: Summary) -> None:
    """Print a summary: percent, with a star at what differs from the baseline."""
    table = Table(title=escape(summary.title), caption=NOTE)
    for header in ("run", *summary.columns, "average"):
        table.add_column(header, justify="left" if header == "run" else "right", overflow="fold")
    for label, cells in summary.lines.items():
        table.add_row(escape(label), *map(_text, cells), average_text(summary, cells))
    show(table)


def markdown_summary(summary: Summary) -> str:
    """Return a summary as Markdown."""
    headers = ["run", *summary.columns, "average"]
    lines = [markdown_row(headers), markdown_row(["---", *["---:"] * (len(headers) - 1)])]
    for label, cells in summary.lines.items():
        lines.append(markdown_row([label, *map(_text, cells), average_text(summary, cells)]))
    return "\n\n".join([f"**{summary.title}**", "\n".join(lines), NOTE])


def latex_summary(summary: Summary) -> str:
    """Return a summary as a LaTeX table, the best of each column in bold: of those that cover all its folds."""
    headers = ["", *map(escape_latex, summary.columns), "average"]
    columns = [*zip(*summary.lines.values(), strict=True)]
    best = [max((cell.metric.mean for cell in column if cell and cell.covers_all), default=None) for column in columns]
    lines = []
    for label, cells in summary.lines.items():
        texts = [_latex_text(cell, top) for cell, top in zip(cells, best, strict=True)]
        lines.append(" & ".join([escape_latex(label), *texts, average_text(summary, cells)]))
    caption = f"{escape_latex(summary.title)}. {LATEX_NOTE}"
    return latex_table("l" + "r" * (len(headers) - 1), " & ".join(headers), lines, caption)


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
    columns = [
        {row.label: Cell(row.metrics[metric], row.folds == section.folds) for row in section.rows}
        for _, metric, section in cells
    ]
    labels = dict.fromkeys(label for column in columns for label in column)
    lines = {label: tuple(column.get(label) for column in columns) for label in labels}
    facts = {key: sections[0].facts[key] for key in ("model", "dtype", "split")}
    title = f"{facts['model']} ({facts['dtype']}), {facts['split']} split"
    repeats = len({section.facts["task"] for section in sections}) < len(sections)
    return Summary(title, facts, tuple(f"{name} {metric.upper()}" for name, metric, _ in cells), lines, repeats)


def _text(cell: Cell | None) -> str:
    return cell.text if cell else ""


def _latex_text(cell: Cell | None, best: float | None) -> str:
    if cell is None:
        return ""
    mean = bold_if(percent(cell.metric.mean), cell.covers_all and cell.metric.mean == best)
    return mean + (f"$^{{{cell.marks}}}$" if cell.marks else "")


def average_text(summary: Summary, cells: Sequence[Cell | None]) -> str:
    """Return the average in percent, marked where a cell does not cover all folds; nothing where there is none."""
    mean = average(summary, cells)
    covers_all = all(cell.covers_all for cell in cells if cell)
    return "" if mean is None else percent(mean) + ("" if covers_all else PARTIAL)
