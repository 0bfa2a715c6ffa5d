"""What the model made of each item: one row a question, so that runs can be paired later."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lofit_cli.artifacts.files import open_file, write_file
from lofit_cli.errors import UnusableRunError, UserError

FILE_NAME = "predictions.parquet"
MARGIN = "margin"
"""By how much an answer is likelier than another: a difference of natural logs of probabilities."""
ABS_MARGIN = "abs_margin"
"""The size of such a difference, whichever of the two is the likelier one."""
TOKEN_LOGPROB = "token_logprob"  # noqa: S105 - no password
"""The mean natural log of the probability of a text's tokens."""
PERPLEXITY = "perplexity"
"""What one token is chosen among, as it were: the exponential of minus that mean."""
IDEALS = {"stereotype": 0.5, "ss": 0.5, ABS_MARGIN: 0.0, "bias_diff": 0.0}
"""Metric -> the mean that is best, for those of which the highest is not."""
ROUNDING = 1e-6
"""How far a value may leave its scale: what float32 sums of probabilities do."""


class LogProb(float):
    """The log-probability of an answer, a natural log, which knows of how many tokens it is the sum."""

    num_tokens: int

    def __new__(cls, value: float, num_tokens: int) -> Self:
        """Return the value as it is, with the number."""
        made = super().__new__(cls, value)
        made.num_tokens = num_tokens
        return made

    def __reduce__(self) -> tuple[type, tuple[float, int]]:
        """Return what a copy is made of."""
        return type(self), (float(self), self.num_tokens)


@dataclass(frozen=True)
class Prediction:
    """An item with what the model made of it.

    Attributes:
        metrics: metric name -> this item's value, on its `metric_scale`.
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


@dataclass(frozen=True, eq=False)
class Measured:
    """What a run measured.

    Attributes:
        question_ids: in the order of the run's split.
        categories: what each question is about.
        values: metric -> (num_questions,), a value a question.
    """

    question_ids: list[str]
    categories: list[str]
    values: dict[str, NDArray[np.float64]]


def write_predictions(folder: Path, predictions: Sequence[Prediction]) -> None:
    """Write `predictions.parquet`, a column for each metric."""
    rows = [{**{k: v for k, v in asdict(p).items() if k != "metrics"}, **p.metrics} for p in predictions]
    table = pa.Table.from_pylist(rows)

    def write(path: Path) -> None:
        # Arrow itself opens no path with a byte that is no UTF-8.
        with path.open("wb") as file:
            pq.write_table(table, file)

    write_file(folder / FILE_NAME, write)


def metric_scale(metric: str) -> tuple[float, float]:
    """Return the least and the most a question can be worth: 0 and 1, but for a difference (`..._diff`) -1 and 1.

    A `margin`, a difference of log-probabilities, has no end, its size none above, and a log-probability none below.
    """
    if metric in UNBOUNDED:
        return UNBOUNDED[metric]
    return (-1.0, 1.0) if metric.endswith("_diff") else (0.0, 1.0)


UNBOUNDED = {
    MARGIN: (-math.inf, math.inf),
    ABS_MARGIN: (0.0, math.inf),
    TOKEN_LOGPROB: (-math.inf, 0.0),
    PERPLEXITY: (1.0, math.inf),
}


def merit(metric: str, mean: float) -> float:
    """Return what is the larger the better a metric's mean is: the mean, or minus how far it is from its ideal."""
    return -abs(mean - IDEALS[metric]) if metric in IDEALS else mean


def right_above(metric: str) -> float | None:
    """Return the value above which a question counts as right, None for a metric that has no such value.

    It is the middle of the metric's scale: for 0/1 values what they say, for a share of probability more than half, and
    for a difference of similarities more like the right answers. A scale without ends has no middle. Where the best
    mean is not the highest, no question's value is right.
    """
    low, high = metric_scale(metric)
    middle = (low + high) / 2
    return middle if metric not in IDEALS and np.isfinite([low, high]).all() else None


class Unit(NamedTuple):
    """How a person reads a metric's values: times a factor, to some decimals, in a mean and in a difference."""

    factor: float
    decimals: int
    of_mean: str
    of_difference: str


PERCENT = Unit(100, 1, "%", "points")
NATS = Unit(1, 2, "nats", "nats")
CHOICES = Unit(1, 2, "choices a token", "choices a token")


def metric_unit(metric: str) -> Unit:
    """Return how a person reads a metric."""
    if metric == PERPLEXITY:
        return CHOICES
    return NATS if metric in UNBOUNDED else PERCENT


def read_metrics(folder: Path, metrics: Sequence[str]) -> Measured:
    """Read what a run measured, without the texts.

    Raises:
        UserError: the file or a column can't be read, or a value is missing, not a number or not on its metric's scale.
    """
    file = folder / FILE_NAME
    if len({"question_id", "category", *metrics}) < len(metrics) + 2:
        raise UnusableRunError(f"{folder}: its manifest names a metric twice, or one that is none; evaluate it again")
    try:
        # One small file is read sooner without starting threads for its columns.
        with open_file(file) as content:
            table = pq.read_table(content, columns=["question_id", "category", *metrics], use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise UnusableRunError(f"{file} could not be read ({str(error).partition(chr(10))[0]}); evaluate the run again")
    ids, categories = (_read_texts(file, table, name) for name in ("question_id", "category"))
    return Measured(ids, categories, {name: _read_values(file, table, name) for name in metrics})


def _read_texts(file: Path, table: pa.Table, name: str) -> list[str]:
    try:
        texts: list[str] = table[name].to_pylist()
    except UnicodeDecodeError:
        raise UnusableRunError(f"{file}: {name} holds what is no text in UTF-8; evaluate the run again")
    _refuse(file, name, "is missing or not text", np.array([not isinstance(text, str) for text in texts], dtype=bool))
    return texts


def _read_values(file: Path, table: pa.Table, name: str) -> NDArray[np.float64]:
    """Return a metric's column; pyarrow turns null into nan."""
    column = table[name]
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type) or pa.types.is_null(column.type)):
        raise UserError(f"{file}: {name} holds {column.type}, not numbers; evaluate the run again")
    values: NDArray[np.float64] = column.cast(pa.float64()).to_numpy()
    low, high = metric_scale(name)
    _refuse(file, name, "is not a number", ~np.isfinite(values))
    _refuse(file, name, f"lies outside {low:g} to {high:g}", (values < low - ROUNDING) | (values > high + ROUNDING))
    return values


def _refuse(file: Path, name: str, fault: str, at_fault: NDArray[np.bool_]) -> None:
    if number := int(at_fault.sum()):
        raise UserError(f"{file}: {name} {fault} for {number} of {len(at_fault)} questions; evaluate the run again")
