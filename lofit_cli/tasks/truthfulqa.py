"""TruthfulQA (Lin et al. 2022), in ITI's two folds, from a folder of CSV files or from the Hugging Face Hub."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from lofit_cli.errors import UserError
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks.csv_records import read_csv
from lofit_cli.tasks.forms.truthfulqa import Question, TruthfulQATask, check_question, close_answer
from lofit_cli.tasks.records import Record, load_hub_records

ReadQuestion = Callable[[Record, str], Question]
"""A row and the question's id -> the question."""

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
        return read_folder(config, COLUMNS, _listed_in_cells)
    records = load_hub_records(config.hub_id or "truthfulqa/truthful_qa", "generation", "validation")
    return _split([_listed(record, f"truthfulqa-{i}") for i, record in enumerate(records)], config.fold)


def read_folder(config: TaskConfig, columns: Sequence[str], read: ReadQuestion) -> dict[str, list[Question]]:
    """Return a fold's three splits from the CSV files of `task.data_dir`, which have the columns named."""
    folder = Path(str(config.data_dir))
    if not folder.is_dir():
        raise UserError(f"task.data_dir={config.data_dir} is not a folder; name the one with the fold CSV files")
    names = {split: f"fold_{config.fold}_{name}_seed_42.csv" for split, name in SPLIT_FILES.items()}
    if (folder / WHOLE_FILE).is_file() and not (folder / names["test"]).is_file():
        return _split(_read_questions(folder / WHOLE_FILE, columns, read), config.fold)
    return {split: _read_questions(folder / name, columns, read) for split, name in names.items()}


def _read_questions(file: Path, columns: Sequence[str], read: ReadQuestion) -> list[Question]:
    return [read(record, f"{file.stem}-{i}") for i, record in enumerate(read_csv(file, columns))]


def _listed_in_cells(record: Record, question_id: str) -> Question:
    """Return a row of the CSV files, which list answers with semicolons between them."""
    correct, incorrect = (record.text(name, may_be_blank=True).split(";") for name in COLUMNS[3:])
    return make_question(record, question_id, COLUMNS, correct, incorrect)


def _listed(record: Record, question_id: str) -> Question:
    """Return a row of the Hub's version, which has lists of answers."""
    correct, incorrect = (record.texts(name, may_be_blank=True) for name in HUB_COLUMNS[3:])
    return make_question(record, question_id, HUB_COLUMNS, correct, incorrect)


def make_question(
    record: Record, question_id: str, columns: Sequence[str], correct: Sequence[str], incorrect: Sequence[str]
) -> Question:
    """Return a question that can be scored; the first three columns hold its category, its text and its best answer."""
    category, text = record.text(columns[0], may_be_blank=True), record.text(columns[1])
    best, correct, incorrect = record.text(columns[2]).strip(), _filled(correct), _filled(incorrect)
    # The best answer is listed among the correct ones, now with its period, now without.
    best = {close_answer(answer): answer for answer in correct}.get(close_answer(best), best)
    listed = correct if best in correct else [best, *correct]
    return check_question(Question(question_id, category, text, best, tuple(listed), tuple(incorrect)), record.source)


def _filled(answers: Sequence[str]) -> list[str]:
    return [answer.strip() for answer in answers if answer.strip()]


def _split(questions: list[Question], fold: int) -> dict[str, list[Question]]:
    """Split as ITI and LoFiT do: the test fold is a half in order, training four fifths of the other, drawn.

    For fold 0 this gives LoFiT's released files; for fold 1 the same test half and another draw of the rest.
    """
    halves = np.array_split(np.arange(len(questions)), 2)
    rest = halves[1 - fold]
    train = np.random.RandomState(42).choice(rest, size=int(len(rest) * 0.8), replace=False)
    indices = {"train": train, "validation": np.setdiff1d(rest, train), "test": halves[fold]}
    return {split: [questions[i] for i in chosen] for split, chosen in indices.items()}
