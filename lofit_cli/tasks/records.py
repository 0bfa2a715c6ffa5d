"""Rows of benchmark files and of datasets of the Hugging Face Hub, with errors that name file, line and field."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from lofit_cli.errors import RunError, UserError, beginning
from lofit_cli.schema.sources import SPLITS

Row = TypeVar("Row")


@dataclass(frozen=True)
class Record:
    """A row that knows where it stands, so that what is wrong with it can be named.

    A field is what it is asked for as, or it is refused: a text that is read as a list gives its letters, without an
    error, and a number that is read as a text asks another question.

    Attributes:
        source: the file and the line, or the dataset and the row.
    """

    content: Mapping[str, Any]
    source: str

    @property
    def held(self) -> str:
        """Return the names of the fields that hold something, as a sentence lists them."""
        return ", ".join(str(name) for name, value in self.content.items() if value is not None) or "nothing"

    def get(self, name: str) -> Any:
        """Return a field, whatever it holds.

        Raises:
            UserError: the row lacks it.
        """
        value = self.content.get(name)
        if value is None:
            raise UserError(f"{self.source} has no '{name}'; it has {self.held}")
        return value

    def text(self, name: str, may_be_blank: bool = False) -> str:
        """Return a field that holds some text."""
        value = self.get(name)
        if not _is_text(value, may_be_blank):
            raise self.refusal(name, value, "some text")
        return str(value)

    def texts(self, name: str, may_be_blank: bool = False) -> tuple[str, ...]:
        """Return a field that holds a list of texts."""
        value = self.get(name)
        if not isinstance(value, list) or not all(_is_text(text, may_be_blank) for text in value):
            raise self.refusal(name, value, 'a list of texts, as in ["Paris", "Lyon"]')
        return tuple(value)

    def label(self, name: str) -> str:
        """Return a field that names something: some text, or a whole number."""
        value = self.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not _is_text(value, False):
            raise self.refusal(name, value, "some text or a whole number")
        return str(value)

    def one_of(self, name: str, allowed: Sequence[str]) -> str:
        """Return a field that holds one of these names, or the number of one, as datasets on the Hub write classes."""
        value = self.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(allowed):
            return allowed[value]
        if value not in allowed:
            raise self.refusal(name, value, f"one of {', '.join(allowed)}")
        return str(value)

    def part(self, name: str) -> "Record":
        """Return a field that holds an object with fields of its own."""
        value = self.get(name)
        if not isinstance(value, Mapping):
            raise self.refusal(name, value, "an object with fields of its own")
        return Record(value, f"{self.source}, {name}")

    def parts(self, name: str) -> list["Record"]:
        """Return a field that holds a list of such objects."""
        value = self.get(name)
        if not isinstance(value, list) or not all(isinstance(part, Mapping) for part in value):
            raise self.refusal(name, value, "a list of objects")
        return [Record(part, f"{self.source}, {name} {i}") for i, part in enumerate(value, 1)]

    def refusal(self, name: str, value: object, due: str) -> UserError:
        """Return the error that says what a field holds and what is due."""
        is_blank = isinstance(value, str) and not value.strip()
        held = "is empty" if is_blank else f"holds {beginning(json.dumps(value, ensure_ascii=False, default=str))}"
        return UserError(f"{self.source}: its field '{name}' {held}; it must be {due}")


def _is_text(value: object, may_be_blank: bool) -> bool:
    return isinstance(value, str) and (may_be_blank or bool(value.strip()))


def read_records(file: Path) -> list[Record]:
    """Return the objects of a `.json` list or a `.jsonl` file.

    Raises:
        UserError: the file is missing, or is not made of JSON objects, no key in one of them twice.
    """
    text = read_text(file, "JSON")
    if file.suffix.lower() == ".jsonl":
        # Not splitlines, which ends a line at characters that may stand inside a text.
        lines = [(f"{file}, line {i}", line) for i, line in enumerate(text.split("\n"), 1) if line.strip()]
        return [_record(_parse(line, source), source) for source, line in lines]
    rows = _parse(text, str(file)) if text.strip() else []
    if not isinstance(rows, list):
        raise UserError(f"{file} is not a list of JSON objects")
    return [_record(row, f"{file}, record {i}") for i, row in enumerate(rows, 1)]


def read_object(file: Path) -> Record:
    """Return the one object of a `.json` file.

    Raises:
        UserError: the file is missing, or holds something else.
    """
    return _record(_parse(read_text(file, "JSON"), str(file)), str(file))


def read_parquet(file: Path) -> list[Record]:
    """Return the rows of a Parquet file.

    Raises:
        UserError: it can't be read.
    """
    try:
        with file.open("rb") as content:
            rows = pq.read_table(content).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{file} could not be read ({str(error).splitlines()[0]}); it must be a Parquet file")
    return [_record(row, f"{file}, row {i}") for i, row in enumerate(rows, 1)]


def load_hub_splits(name: str, subset: str | None) -> dict[str, list[Record]]:
    """Return the rows of a dataset's splits that lofit knows.

    Raises:
        UserError: it has none of them.
        RunError: it could not be loaded.
    """
    from datasets import get_dataset_split_names

    try:
        names = get_dataset_split_names(name, subset)
    except (OSError, ValueError, RuntimeError) as error:
        raise _not_loaded(name, error)
    if not (known := [split for split in names if split in SPLITS]):
        raise UserError(f"dataset '{name}' has the splits {', '.join(names)}; lofit takes {', '.join(SPLITS)}")
    return {split: load_hub_records(name, subset, split) for split in known}


def _not_loaded(name: str, error: Exception) -> RunError:
    reason = str(error).splitlines()[0]
    return RunError(f"dataset '{name}' could not be loaded ({reason}); set task.data_dir to a folder with its files")


def load_hub_records(name: str, subset: str | None, split: str) -> list[Record]:
    """Return the rows of a dataset on the Hub, or in a local folder of Parquet or JSON files.

    Raises:
        RunError: it could not be loaded.
    """
    from datasets import load_dataset

    try:
        rows = list(load_dataset(name, None if Path(name).exists() else subset, split=split))
    except (OSError, ValueError, RuntimeError) as error:
        raise _not_loaded(name, error)
    return [_record(row, f"dataset '{name}', {split} row {i}") for i, row in enumerate(rows, 1)]


def read_text(file: Path, form: str) -> str:
    """Return a file's text; `form` is what the file is, for the message."""
    if not file.parent.is_dir():
        raise UserError(f"task.data_dir={file.parent} is not a folder; name the one with the task's files, or 'sample'")
    if not file.is_file():
        raise UserError(f"task.data_dir={file.parent} has no file {file.name}; name the folder with the task's files")
    try:
        # A spreadsheet begins its files with a byte-order mark.
        return file.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} could not be read ({error}); it must be a {form} file in UTF-8")


def _parse(text: str, source: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_distinct_keys, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text else ""
        reason = f"{error.msg}, {line}column {error.colno}"
    except (ValueError, RecursionError) as error:
        reason = str(error)
    raise UserError(f"{source} could not be read ({reason}); it must be JSON")


def _distinct_keys(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise ValueError(f"an object has two values for '{twice[0]}'")
    return dict(pairs)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _record(content: Any, source: str) -> Record:
    if not isinstance(content, dict):
        raise UserError(f"{source} is not a JSON object; each question is one")
    try:
        json.dumps(content, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise UserError(f"{source} has half a character, the lone surrogate {half}; write it whole or remove it")
    return Record(content, source)


def optional_records(file: Path) -> list[Record]:
    """Return the objects of a file that is needed for training only, none if it is not there."""
    return read_records(file) if file.exists() else []


def hold_out(rows: Sequence[Row], most: int, seed: int) -> tuple[list[Row], list[Row]]:
    """Return a training part and a validation part drawn from it: `most` rows, or half where there are few."""
    drawn = random.Random(seed).sample(range(len(rows)), min(most, len(rows) // 2))
    held_out = set(drawn)
    return [row for i, row in enumerate(rows) if i not in held_out], [rows[i] for i in drawn]
