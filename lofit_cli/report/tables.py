"""A small table as CSV, Markdown and LaTeX, and on the terminal."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from lofit_cli.artifacts.files import write_file
from lofit_cli.console import show
from lofit_cli.report.latex import escape_latex, latex_table


@dataclass(frozen=True)
class TextTable:
    """What a person reads: rounded and in words.

    Attributes:
        lines: of as many cells as there are headers.
        note: what the marks and numbers mean.
    """

    title: str
    headers: Sequence[str]
    lines: Sequence[Sequence[str]]
    note: str = ""


def write_table(table: TextTable, records: Sequence[Mapping[str, Any]], folder: Path, name: str) -> None:
    """Write NAME.md and NAME.tex of the table and NAME.csv of its records in full precision, and print the table."""
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / f"{name}.md", lambda path: path.write_text(_markdown(table), encoding="utf-8"))
    write_file(folder / f"{name}.tex", lambda path: path.write_text(_latex(table), encoding="utf-8"))
    write_file(folder / f"{name}.csv", lambda path: _write_csv(path, records))
    _print(table)


def _markdown(table: TextTable) -> str:
    lines = [table.headers, ["---"] * len(table.headers), *table.lines]
    body = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return f"**{table.title}**\n\n{body}\n" + (f"\n{table.note}\n" if table.note else "")


def _latex(table: TextTable) -> str:
    header, *body = (" & ".join(map(escape_latex, line)) for line in (table.headers, *table.lines))
    # A bracket or star after the end of a line would be read as that line's own.
    lines = [f"{{}}{line}" if line.startswith(("[", "*")) else line for line in body]
    caption = escape_latex(f"{table.title}. {table.note}".strip())
    return latex_table("l" + "r" * (len(table.headers) - 1), header, lines, caption)


def _write_csv(file: Path, records: Sequence[Mapping[str, Any]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, fieldnames=list(records[0]))
        writer.writeheader()
        writer.writerows(records)


def _print(table: TextTable) -> None:
    printed = Table(title=escape(table.title), caption=escape(table.note) or None)
    for header in table.headers:
        printed.add_column(escape(header), justify="left" if header == table.headers[0] else "right", overflow="fold")
    for line in table.lines:
        printed.add_row(*map(escape, line))
    show(printed)
