"""TruthfulQA (Lin et al. 2022), in ITI's two folds, from a folder of CSV files or from the Hugging Face Hub."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lofit_cli.errors import RunError, UserError
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks.forms.truthfulqa import Question, TruthfulQATask, check_question, close_answer

SPLIT_FILES = {"train": "train", "validation": "val", "test": "test"}
WHOLE_FILE = "TruthfulQA.csv"
"""The authors' own file, which is split into folds here as the Hub's is."""

COLUMNS = ("Category", "Question", "Best Answer", "Correct Answers", "Incorrect Answers")
HUB_COLUMNS = ("category", "question", "best_answer", "correct_answers", "incorrect_answers")


def load_truthfulqa(config: TaskConfig) -> TruthfulQATask:
    """Return a fold of TruthfulQA: from `task.data_dir` where it is set, else from the Hub."""
    return TruthfulQATask(config, load_folds(config))


def load_folds(config: TaskConfig) -> dict[str, list[Question]]:
    """Return a fold's three splits: from `task.data_dir` where it is set, else from the Hub."""
    if config.data_dir:
        return read_folder(config, COLUMNS)
    return _split(_load_hub(config.hub_id or "truthfulqa/truthful_qa"), config.fold)


def read_folder(config: TaskConfig, columns: Sequence[str]) -> dict[str, list[Question]]:
    """Return a fold's three splits from `task.data_dir`, by the columns named."""
    folder = Path(str(config.data_dir))
    if not folder.is_dir():
        raise UserError(f"task.data_dir={config.data_dir} is not a folder; name the one with the fold CSV files")
    names = {split: f"fold_{config.fold}_{name}_seed_42.csv" for split, name in SPLIT_FILES.items()}
    if (folder / WHOLE_FILE).is_file() and not (folder / names["test"]).is_file():
        return _split(_read_csv(folder / WHOLE_FILE, columns), config.fold)
    return {split: _read_csv(folder / name, columns) for split, name in names.items()}


def _read_csv(file: Path, columns: Sequence[str]) -> list[Question]:
    if not file.is_file():
        raise UserError(f"task.data_dir={file.parent} has no file {file.name}; name the folder with the fold CSV files")
    try:
        # A spreadsheet begins its files with a byte-order mark.
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            _require_columns(reader.fieldnames or (), columns, str(file))
            rows = [(f"{file}, line {reader.line_num}", row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file} could not be read ({error}); it must be a CSV file in UTF-8")
    return [_question(f"{file.stem}-{i}", row, columns, source) for i, (source, row) in enumerate(rows)]


def _load_hub(name: str) -> list[Question]:
    from datasets import load_dataset

    try:
        rows = load_dataset(name, "generation" if not Path(name).exists() else None, split="validation")
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"dataset '{name}' could not be loaded ({reason}); set task.data_dir to a folder with CSV files")
    _require_columns(rows.column_names, HUB_COLUMNS, name)
    return [_question(f"truthfulqa-{i}", row, HUB_COLUMNS, name) for i, row in enumerate(rows)]


def _require_columns(found: Iterable[str], columns: Sequence[str], source: str) -> None:
    there = set(found)
    if missing := [column for column in columns if column not in there]:
        raise UserError(f"{source} has no column '{missing[0]}'; the task needs {', '.join(dict.fromkeys(columns))}")


def _question(question_id: str, row: Mapping[str, Any], columns: Sequence[str], source: str) -> Question:
    if missing := [column for column in columns if row[column] is None]:
        raise UserError(f"{source}: this row has no '{missing[0]}'; check its commas and quotation marks")
    category, text, best, correct, incorrect = (row[column] for column in columns)
    answers = _answers(correct)
    # The best answer is listed among the correct ones, now with its period, now without.
    listed = {close_answer(answer): answer for answer in answers}
    best = listed.get(close_answer(best.strip()), best.strip())
    correct = answers if best in answers else (best, *answers)
    return check_question(Question(question_id, category, text, best, correct, _answers(incorrect)), source)


def _answers(value: str | list[str]) -> tuple[str, ...]:
    parts = value.split(";") if isinstance(value, str) else value
    return tuple(part.strip() for part in parts if part.strip())


def _split(questions: list[Question], fold: int) -> dict[str, list[Question]]:
    """Split as ITI and LoFiT do: the test fold is a half in order, training four fifths of the other, drawn.

    For fold 0 this gives LoFiT's released files; for fold 1 the same test half and another draw of the rest.
    """
    halves = np.array_split(np.arange(len(questions)), 2)
    rest = halves[1 - fold]
    train = np.random.RandomState(42).choice(rest, size=int(len(rest) * 0.8), replace=False)
    indices = {"train": train, "validation": np.setdiff1d(rest, train), "test": halves[fold]}
    return {split: [questions[i] for i in chosen] for split, chosen in indices.items()}
