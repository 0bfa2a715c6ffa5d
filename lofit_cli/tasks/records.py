"""Reading benchmark files and datasets of the Hugging Face Hub, with errors that name the file and the field."""

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lofit_cli.errors import RunError, UserError

Record = Mapping[str, Any]


def read_records(file: Path) -> list[Record]:
    """Return the objects of a `.json` list or a `.jsonl` file.

    Raises:
        UserError: the file is missing, or is not made of JSON objects.
    """
    if not file.is_file():
        raise UserError(f"task.data_dir={file.parent} has no file {file.name}; name the folder with the task's files")
    try:
        text = file.read_text(encoding="utf-8-sig")
        # Not splitlines, which ends a line at characters that may stand inside a text.
        lines = [line for line in text.split("\n") if line.strip()]
        records = list(map(json.loads, lines)) if file.suffix == ".jsonl" else json.loads(text)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{file} could not be read ({error}); it must be JSON in UTF-8")
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise UserError(f"{file} is not a list of JSON objects")
    return records


def load_hub_records(name: str, subset: str | None, split: str) -> list[Record]:
    """Return the rows of a dataset on the Hub, or in a local folder of Parquet or JSON files.

    Raises:
        RunError: it could not be loaded.
    """
    from datasets import load_dataset

    try:
        return list(load_dataset(name, None if Path(name).exists() else subset, split=split))
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"dataset '{name}' could not be loaded ({reason}); set task.data_dir to a folder with its files")


def fields(record: Record, names: Iterable[str], source: str) -> tuple[Any, ...]:
    """Return a record's fields.

    Raises:
        UserError: it lacks one.
    """
    if missing := [name for name in names if record.get(name) is None]:
        raise UserError(f"{source} has no '{missing[0]}'; it has {', '.join(map(str, record)) or 'nothing'}")
    return tuple(record[name] for name in names)


def optional_records(file: Path) -> list[Record]:
    """Return the objects of a file that is needed for training only, none if it is not there."""
    return read_records(file) if file.exists() else []


def hold_out(records: Sequence[Record], most: int, seed: int) -> tuple[list[Record], list[Record]]:
    """Return a training part and a validation part drawn from it: `most` records, or half where there are few."""
    drawn = random.Random(seed).sample(range(len(records)), min(most, len(records) // 2))
    held_out = set(drawn)
    return [row for i, row in enumerate(records) if i not in held_out], [records[i] for i in drawn]
