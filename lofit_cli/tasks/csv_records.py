"""Rows of CSV files, as records: none is read shifted, and none under a heading that is several."""

import csv
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from lofit_cli.errors import UserError
from lofit_cli.tasks.records import Record, read_text

MARKS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}
"""What files are found to have between their columns."""
QUOTED = re.compile('"[^"]*"')


def read_csv(file: Path, columns: Sequence[str] = (), delimiter: str = ",") -> list[Record]:
    """Return the rows of a CSV file under the names in its first line.

    Raises:
        UserError: the file is missing, is no CSV file or lacks one of the columns, or a row has not as many fields as
            the first line, so that it would be read shifted.
    """
    text = read_text(file, "CSV")
    _refuse_other_marks(text, delimiter, file)
    csv.field_size_limit(sys.maxsize)
    lines = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    try:
        rows = [(f"{file}, line {lines.line_num}", row) for row in lines if row]
    except csv.Error as error:
        raise UserError(f"{file}, line {lines.line_num} could not be read ({error}); check its quotation marks")
    names = rows[0][1] if rows else []
    _require_columns(names, columns or [name for name in names if name], file)
    return [_csv_record(names, row, source, delimiter) for source, row in rows[1:]]


def _refuse_other_marks(text: str, delimiter: str, file: Path) -> None:
    """Refuse a first line that has another mark between its names, as spreadsheets write it in half of Europe."""
    heading = QUOTED.sub("", text.lstrip().partition("\n")[0])
    other = next((mark for mark in MARKS if mark in heading), None)
    if other and delimiter not in heading:
        raise UserError(
            f"{file} has {MARKS[other]} between its columns; save it with {MARKS[delimiter]} between them"
            + (", or let its name end in .tsv" if other == "\t" else "")
        )


def _require_columns(names: Sequence[str], columns: Sequence[str], file: Path) -> None:
    if missing := [column for column in columns if column not in names]:
        raise UserError(f"{file} has no column '{missing[0]}'; the task needs {', '.join(dict.fromkeys(columns))}")
    if twice := [name for name in columns if names.count(name) > 1]:
        raise UserError(f"{file} has two columns '{twice[0]}'; rename or remove one of them")


def _csv_record(names: Sequence[str], row: Sequence[str], source: str, delimiter: str) -> Record:
    if (num := len(row)) != len(names):
        raise UserError(
            f"{source}: this row has {num} field{'s' * (num != 1)} and the first line {len(names)}; check its "
            f'{MARKS[delimiter]}, and put a text that has one in quotation marks, as in "No, they make spores"'
        )
    return Record(dict(zip(names, row, strict=True)), source)
