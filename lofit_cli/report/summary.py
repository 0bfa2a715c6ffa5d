"""Several tasks in one wide table: a line a row label, a column a task and headline metric, as in LoFiT's Table 1."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from lofit_cli.analysis.comparison import ComparedMetric, ComparedSection
from lofit_cli.report.cells import name_sections, percent
from lofit_cli.report.comparison_text import markdown_row
from lofit_cli.report.latex import STAR_NOTE, bold_if, escape_latex, latex_table
from lofit_cli.report.progress import show

HEADLINES = ("mc1", "mc2")
"""The metrics that multiple-choice tasks are known by; any other task has its first."""
NOTE = "*: p < 0.05 against the task's baseline (Holm, over the tests of its own table)."


@dataclass(frozen=True)
class Summary:
    """The sections of one model, dtype and split, side by side.

    Attributes:
        columns: headings such as `truthfulqa MC1`.
        lines: row label -> its metric in each column, None where it was not measured.
    """

    title: str
    facts: dict[str, Any]
    columns: tuple[str, ...]
    lines: dict[str, tuple[ComparedMetric | None, ...]]


def summarise_sections(sections: Sequence[ComparedSection]) -> list[Summary]:
    """Return a wide table for each model, dtype and split that has two sections or more."""
    parts: dict[tuple[str, str, str], list[ComparedSection]] = {}
    for section in sections:
        parts.setdefault((section.facts["model"], section.facts["dtype"], section.facts["split"]), []).append(section)
    return [_summarise(part) for part in parts.values() if len(part) > 1]


def average(metrics: Sequence[ComparedMetric | None]) -> float | None:
    """Return the mean over all columns, as the paper's last column is; None where one of them is missing."""
    means = [metric.mean for metric in metrics if metric]
    return sum(means) / len(means) if len(means) == len(metrics) else None


def print_summary(summary: Summary) -> None:
    """Print a summary: percent, with a star at what differs from the baseline."""
    table = Table(title=escape(summary.title), caption=NOTE)
    for header in ("run", *summary.columns, "average"):
        table.add_column(header, justify="left" if header == "run" else "right", overflow="fold")
    for label, metrics in summary.lines.items():
        table.add_row(escape(label), *map(_cell, metrics), _percent_or_nothing(average(metrics)))
    show(table)


def markdown_summary(summary: Summary) -> str:
    """Return a summary as Markdown."""
    headers = ["run", *summary.columns, "average"]
    lines = [markdown_row(headers), markdown_row(["---", *["---:"] * (len(headers) - 1)])]
    for label, metrics in summary.lines.items():
        lines.append(markdown_row([label, *map(_cell, metrics), _percent_or_nothing(average(metrics))]))
    return "\n\n".join([f"**{summary.title}**", "\n".join(lines), NOTE])


def latex_summary(summary: Summary) -> str:
    """Return a summary as a LaTeX table, the best of each column in bold."""
    headers = ["", *map(escape_latex, summary.columns), "average"]
    columns = [*zip(*summary.lines.values(), strict=True)]
    best = [max(metric.mean for metric in column if metric) for column in columns]
    lines = []
    for label, metrics in summary.lines.items():
        cells = [_latex_cell(metric, top) for metric, top in zip(metrics, best, strict=True)]
        lines.append(" & ".join([escape_latex(label), *cells, _percent_or_nothing(average(metrics))]))
    caption = f"{escape_latex(summary.title)}. {STAR_NOTE}"
    return latex_table("l" + "r" * (len(headers) - 1), " & ".join(headers), lines, caption)


def summary_records(summary: Summary) -> list[dict[str, Any]]:
    """Return a record for each line, as fractions, with the adjusted p-values."""
    records = []
    for label, metrics in summary.lines.items():
        record = summary.facts | {"row": label}
        for name, metric in zip(summary.columns, metrics, strict=True):
            record |= {name: metric and metric.mean, f"{name} p_holm": metric and metric.adjusted_p}
        records.append(record | {"average": average(metrics)})
    return records


def _summarise(sections: Sequence[ComparedSection]) -> Summary:
    cells = [
        (name, metric, section)
        for name, section in zip(name_sections(sections), sections, strict=True)
        for metric in [m for m in section.metrics if m in HEADLINES] or section.metrics[:1]
    ]
    columns = [{row.label: row.metrics[metric] for row in section.rows} for _, metric, section in cells]
    labels = dict.fromkeys(label for column in columns for label in column)
    lines = {label: tuple(column.get(label) for column in columns) for label in labels}
    facts = {key: sections[0].facts[key] for key in ("model", "dtype", "split")}
    title = f"{facts['model']} ({facts['dtype']}), {facts['split']} split"
    return Summary(title, facts, tuple(f"{name} {metric.upper()}" for name, metric, _ in cells), lines)


def _cell(metric: ComparedMetric | None) -> str:
    return percent(metric.mean) + ("*" if metric.is_significant else "") if metric else ""


def _latex_cell(metric: ComparedMetric | None, best: float) -> str:
    if metric is None:
        return ""
    return bold_if(percent(metric.mean), metric.mean == best) + ("$^{*}$" if metric.is_significant else "")


def _percent_or_nothing(fraction: float | None) -> str:
    return "" if fraction is None else percent(fraction)
