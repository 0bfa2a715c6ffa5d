"""Scored questions: one row a question, so that runs can be paired later."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lofit_cli.artifacts.files import write_file
from lofit_cli.errors import UserError

FILE_NAME = "predictions.parquet"


@dataclass(frozen=True)
class ScoredQuestion:
    """A question with the log-probability of each answer and the metrics that follow from them.

    Attributes:
        answers: correct answers first, then incorrect ones, as they were scored.
        correct: whether each answer is correct.
        log_probs: natural log, summed over the answer's tokens.
        metrics: metric name -> this question's value, in [0, 1].
    """

    question_id: str
    category: str
    question: str
    answers: list[str]
    correct: list[bool]
    log_probs: list[float]
    metrics: dict[str, float]


def write_predictions(folder: Path, scored: list[ScoredQuestion]) -> None:
    """Write `predictions.parquet`, a column for each metric."""
    rows = [{**{k: v for k, v in asdict(s).items() if k != "metrics"}, **s.metrics} for s in scored]
    write_file(folder / FILE_NAME, lambda path: pq.write_table(pa.Table.from_pylist(rows), path))


def read_metric_columns(folder: Path, metrics: list[str]) -> dict[str, list[Any]]:
    """Return the question ids and the named metrics' columns of a run."""
    file = folder / FILE_NAME
    try:
        columns: dict[str, list[Any]] = pq.read_table(file, columns=["question_id", *metrics]).to_pydict()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{file} could not be read ({str(error).splitlines()[0]}); evaluate the run again")
    return columns
