"""What the model made of each item: one row a question, so that runs can be paired later."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lofit_cli.artifacts.files import write_file
from lofit_cli.errors import UserError

FILE_NAME = "predictions.parquet"


@dataclass(frozen=True)
class Prediction:
    """An item with what the model made of it.

    Attributes:
        metrics: metric name -> this item's value: in [0, 1], or in [-1, 1] for a difference (`..._diff`).
    """

    question_id: str
    category: str
    question: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class ScoredAnswers(Prediction):
    """A question with the log-probability of each answer.

    Attributes:
        answers: as they were scored, in the task's order.
        correct: whether each answer is correct.
        log_probs: natural log, summed over the answer's tokens.
    """

    answers: list[str]
    correct: list[bool]
    log_probs: list[float]


@dataclass(frozen=True)
class GeneratedAnswer(Prediction):
    """A prompt with the line that the model generated after it, and those that count as right."""

    accepted: list[str]
    generated: str


def write_predictions(folder: Path, predictions: Sequence[Prediction]) -> None:
    """Write `predictions.parquet`, a column for each metric."""
    rows = [{**{k: v for k, v in asdict(p).items() if k != "metrics"}, **p.metrics} for p in predictions]
    write_file(folder / FILE_NAME, lambda path: pq.write_table(pa.Table.from_pylist(rows), path))


def read_metric_columns(folder: Path, metrics: list[str]) -> dict[str, list[Any]]:
    """Return the question ids, their categories and the named metrics' columns of a run."""
    file = folder / FILE_NAME
    try:
        # One small file is read sooner without starting threads for its columns.
        table = pq.read_table(file, columns=["question_id", "category", *metrics], use_threads=False)
        columns: dict[str, list[Any]] = table.to_pydict()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{file} could not be read ({str(error).splitlines()[0]}); evaluate the run again")
    return columns
