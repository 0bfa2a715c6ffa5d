"""One table, four forms: on the terminal and as Markdown, LaTeX and CSV."""

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import rich.table
from rich.text import Text

from lofit_cli.artifacts.files import write_file
from lofit_cli.console import results, terminal_text
from lofit_cli.report.escaping import csv_value, latex_text, markdown_text

SIGNED = re.compile(r"[+-][\d.]+")
"""A difference; LaTeX has a minus of its own for it."""


@dataclass(frozen=True)
class Cell:
    """What a person reads: rounded and in words.

    Attributes:
        detail: what stands beside the text, such as its interval.
        marks: what the table's note explains, such as `*`.
        is_bold: the best of its column, or a row's name over more about it.
    """

    text: str
    detail: str = ""
    marks: str = ""
    is_bold: bool = False


Entry = Cell | str | Sequence[Cell]
"""A cell, a text for a cell of nothing else, or a cell of several lines."""


@dataclass(frozen=True)
class Column:
    """A column's head and how it is set; one that keeps its lines whole gives no width to others on the terminal."""

    head: str
    align: Literal["left", "right"] = "right"
    is_whole: bool = False


@dataclass(frozen=True)
class Table:
    """A table in words, and the same in full precision.

    Attributes:
        rows: of as many entries as there are columns.
        note: what the marks and numbers mean.
        records: what CSV holds instead of the rows, to compute with: a value for each of its own columns.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Entry]]
    note: str = ""
    records: Sequence[Mapping[str, Any]] = ()

    @property
    def cells(self) -> list[list[Sequence[Cell]]]:
        """Return each row's cells as lines."""
        return [[_lines(entry) for entry in row] for row in self.rows]


def _lines(entry: Entry) -> Sequence[Cell]:
    if isinstance(entry, str):
        return [Cell(entry)]
    return [entry] if isinstance(entry, Cell) else entry


def left_and_right(first: str, *others: str) -> list[Column]:
    """Return columns of which the first, a name, stands on the left and the others, numbers, on the right."""
    return [Column(first, "left"), *map(Column, others)]


def write_tables(tables: Sequence[Table], folder: Path, name: str) -> None:
    """Write NAME.md, NAME.tex and NAME.csv with tables one below another."""
    folder.mkdir(parents=True, exist_ok=True)
    write_markdown(tables, folder / f"{name}.md")
    write_latex(tables, folder / f"{name}.tex")
    write_csv([record for table in tables for record in table.records], folder / f"{name}.csv")


def write_markdown(tables: Sequence[Table], file: Path) -> None:
    """Write tables one below another."""
    text = "\n\n".join(map(_markdown, tables)) + "\n"
    write_file(file, lambda path: path.write_text(text, encoding="utf-8"))


def write_latex(tables: Sequence[Table], file: Path) -> None:
    """Write tables for a paper, one below another; they need the package booktabs."""
    text = "% \\usepackage{booktabs}\n" + "\n".join(map(_latex, tables))
    write_file(file, lambda path: path.write_text(text, encoding="utf-8"))


def write_csv(records: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Write records whose keys may differ: a column for each key, empty where a record lacks it."""
    names = list(dict.fromkeys(key for record in records for key in record))
    rows: list[list[Any]] = [names, *([record.get(name) for name in names] for record in records)]

    def write(path: Path) -> None:
        # Half a surrogate pair, from a name that is no Unicode, can't be encoded.
        with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as opened:
            csv.writer(opened).writerows([csv_value(value) for value in row] for row in rows)

    write_file(file, write)


def show_table(table: Table) -> None:
    """Print a table on standard output."""
    terminal = results()
    escape = partial(terminal_text, encoding=terminal.encoding)
    printed = rich.table.Table(
        title=Text(escape(table.title), "table.title"),
        caption=Text(escape(table.note), "table.caption") if table.note else None,
        show_lines=any(len(lines) > 1 for row in table.cells for lines in row),
    )
    for column in table.columns:
        printed.add_column(Text(escape(column.head)), justify=column.align, no_wrap=column.is_whole, overflow="fold")
    for row in table.cells:
        printed.add_row(*(Text("\n").join(_terminal_cell(cell, escape) for cell in lines) for lines in row))
    terminal.print(printed)


def _terminal_cell(cell: Cell, escape: Callable[[str], str]) -> Text:
    detail = f" {cell.detail}" if cell.detail else ""
    return Text.assemble((escape(cell.text), "bold" if cell.is_bold else ""), escape(cell.marks + detail))


def _markdown(table: Table) -> str:
    rules = ["---:" if column.align == "right" else "---" for column in table.columns]
    heads = [markdown_text(column.head) for column in table.columns]
    rows = [["; ".join(map(_markdown_cell, lines)) for lines in row] for row in table.cells]
    body = "\n".join(f"| {' | '.join(row)} |" for row in [heads, rules, *rows])
    title = f"**{markdown_text(table.title)}**"
    return "\n\n".join([title, body, markdown_text(table.note)] if table.note else [title, body])


def _markdown_cell(cell: Cell) -> str:
    text = markdown_text(cell.text)
    words = (f"**{text}**" if cell.is_bold else text) + markdown_text(cell.marks)
    return f"{words} {markdown_text(cell.detail)}" if cell.detail else words


def _latex(table: Table) -> str:
    columns = "".join(column.align[0] for column in table.columns)
    heads = " & ".join(latex_text(column.head) for column in table.columns)
    lines = [" & ".join("; ".join(map(_latex_cell, lines)) for lines in row) for row in table.cells]
    # A bracket or star after the end of a line would be read as that line's own.
    body = " \\\\\n".join(f"{{}}{line}" if line.startswith(("[", "*")) else line for line in lines)
    caption = latex_text(f"{table.title}. {table.note}".strip())
    return (
        f"\\begin{{table}}\n\\centering\n\\caption{{{caption}}}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n"
        f"{heads} \\\\\n\\midrule\n{body} \\\\\n\\bottomrule\n\\end{{tabular}}\n\\end{{table}}\n"
    )


def _latex_cell(cell: Cell) -> str:
    marks = f"^{{{latex_text(cell.marks)}}}" if cell.marks else ""
    if SIGNED.fullmatch(cell.text):
        words = f"${cell.text}{marks}$"
    else:
        text = latex_text(cell.text)
        words = (f"\\textbf{{{text}}}" if cell.is_bold else text) + (f"${marks}$" if marks else "")
    # A bracket would be read as an option of what stands before it; in braces it is not.
    return f"{words} {{{latex_text(cell.detail)}}}" if cell.detail else words
