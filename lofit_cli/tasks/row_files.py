"""The files that `task=file` reads: JSONL, JSON, CSV, TSV or Parquet."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from lofit_cli.errors import UserError
from lofit_cli.schema.rows import RowsConfig
from lofit_cli.tasks.csv_records import read_csv
from lofit_cli.tasks.records import Record, read_parquet, read_records

READERS: dict[str, Callable[[Path], list[Record]]] = {
    ".jsonl": read_records,
    ".json": read_records,
    ".csv": read_csv,
    ".tsv": partial(read_csv, delimiter="\t"),
    ".parquet": read_parquet,
}
SPLIT_NAMES = {"train": "train", "validation": "validation", "val": "validation", "dev": "validation", "test": "test"}
"""A file's name without its suffix -> the split that it holds."""


def read_files(config: RowsConfig) -> dict[str, list[Record]]:
    """Return the rows of `task.files`, or of the files in `task.data_dir`, split by split.

    Raises:
        UserError: a file is not there, can't be read or has no row.
    """
    files = _named_files(config) if config.files else _found_files(config)
    return {split: _read_rows(file) for split, file in files.items()}


def _read_rows(file: Path) -> list[Record]:
    rows = _reader(file)(file)
    if not rows:
        raise UserError(f"{file} has no rows; put questions into it, a row each, or leave the file out")
    return rows


def _named_files(config: RowsConfig) -> Mapping[str, Path]:
    folder = Path(config.data_dir or ".")
    files = {split: folder / Path(name).expanduser() for split, name in config.files.items()}
    for split, file in files.items():
        if not file.is_file():
            raise UserError(f"task.files.{split}={config.files[split]} is not a file; {file} is not there")
    return files


def _found_files(config: RowsConfig) -> Mapping[str, Path]:
    """Return the files of a folder whose names are those of splits, or its only file as that of all rows."""
    if not config.data_dir:
        raise UserError(
            "task.data_dir must be set for task 'file': a file, or a folder with train, validation and test files; or "
            "name them as in 'task.files={train: a.jsonl, test: b.csv}'"
        )
    place = Path(config.data_dir)
    if place.is_file():
        return {"train": place}
    if not place.is_dir():
        raise UserError(f"task.data_dir={config.data_dir} is neither a folder nor a file")
    known = sorted(file for file in place.iterdir() if file.suffix.lower() in READERS)
    splits = [(SPLIT_NAMES[file.stem.lower()], file) for file in known if file.stem.lower() in SPLIT_NAMES]
    if not splits and len(known) == 1:
        return {"train": known[0]}
    _require_one_each(config, splits, known)
    return dict(splits)


def _require_one_each(config: RowsConfig, splits: list[tuple[str, Path]], known: list[Path]) -> None:
    names = [split for split, _ in splits]
    if twice := [split for split in names if names.count(split) > 1]:
        both = " and ".join(file.name for split, file in splits if split == twice[0])
        raise UserError(f"task.data_dir={config.data_dir} has {both} for its {twice[0]} split; name one in task.files")
    if not splits:
        there = ", ".join(file.name for file in known) or f"no {', '.join(READERS)} file"
        raise UserError(
            f"task.data_dir={config.data_dir} has {there}; call one train, validation or test, or name them as in "
            "'task.files={train: a.jsonl, test: b.csv}'"
        )


def _reader(file: Path) -> Callable[[Path], list[Record]]:
    if file.suffix.lower() not in READERS:
        raise UserError(f"{file} ends in '{file.suffix}'; a file of rows ends in {', '.join(READERS)}")
    return READERS[file.suffix.lower()]
