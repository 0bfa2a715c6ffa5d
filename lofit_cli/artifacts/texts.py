"""The texts beside a run's metrics: what was asked, and what the model made of it. Only a report reads them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lofit_cli.artifacts.files import open_file
from lofit_cli.artifacts.predictions import FILE_NAME
from lofit_cli.errors import UnusableRunError

SCORED = ("answers", "correct", "log_probs")
GENERATED = ("accepted", "generated")


@dataclass(frozen=True)
class Asked:
    """What every run on the same questions was asked.

    Attributes:
        questions: in the order of the run's split.
        answers: those that were scored, or those that count as right where the answer is generated.
        correct: whether each scored answer is correct; None where the answer is generated.
    """

    questions: list[str]
    answers: list[list[str]]
    correct: list[list[bool]] | None


@dataclass(frozen=True)
class Answered:
    """What the model made of each question: one of the two.

    Attributes:
        log_probs: of each scored answer, natural log.
        generated: a text.
    """

    log_probs: list[list[float]] | None
    generated: list[str] | None


def read_texts(folder: Path) -> tuple[Asked, Answered]:
    """Read what `read_metrics` leaves out.

    Raises:
        UserError: the columns are missing, can't be read, or hold something else.
    """
    file = folder / FILE_NAME
    try:
        with open_file(file) as content:
            parquet = pq.ParquetFile(content)
            own = SCORED if "log_probs" in parquet.schema_arrow.names else GENERATED
            table = parquet.read(columns=["question", *own], use_threads=False)
        columns = {name: table[name].to_pylist() for name in ("question", *own)}
    except (OSError, KeyError, UnicodeDecodeError, pa.ArrowException) as error:
        raise UnusableRunError(f"the texts of {file} could not be read ({str(error).strip().partition(chr(10))[0]})")
    if not _are_sound(columns):
        raise UnusableRunError(f"the texts of {file} are not all there, or are no texts")
    if own is SCORED:
        return Asked(*(columns[name] for name in ("question", "answers", "correct"))), Answered(
            columns["log_probs"], None
        )
    return Asked(columns["question"], columns["accepted"], None), Answered(None, columns["generated"])


def _are_sound(columns: dict[str, list[Any]]) -> bool:
    """Return whether every column holds what it should, and the lists of a question have an entry an answer."""
    kinds = {"question": str, "generated": str, "answers": str, "accepted": str, "correct": bool, "log_probs": float}
    lists = [name for name in columns if name not in ("question", "generated")]
    for name, column in columns.items():
        entries = [column] if name not in lists else column
        if not all(isinstance(entry, list) and all(type(v) is kinds[name] for v in entry) for entry in entries):
            return False
    if not np.isfinite([v for entry in columns.get("log_probs", []) for v in entry]).all():
        return False
    return all(len({len(columns[name][i]) for name in lists}) == 1 for i in range(len(columns["question"])))
