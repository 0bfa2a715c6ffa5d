"""A few questions with what the model made of them, before and after, for 80 columns of a terminal."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from lofit_cli.artifacts.texts import Answered, Asked
from lofit_cli.report.tables import Cell, Entry

MAX_LETTERS = 72
"""A text's beginning is shown: three lines of a column."""
SENTENCE_END = re.compile(r"[.:?!]\s+|\n\s*")
LEAST_SHARED = 20
"""A beginning that all questions share is left out where it has at least as many letters."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one run made of the questions.

    Attributes:
        values: (num_questions,) of the headline metric.
    """

    values: NDArray[np.float64]
    answered: Answered


def example_rows(
    asked: Asked, outcomes: Sequence[Outcome], border: float | None, places: Sequence[int]
) -> list[list[Entry]]:
    """Return a row for each of these questions: its beginning, and what each run made of it.

    Args:
        border: the value above which a question counts as right; None where values are only more or less.
    """
    questions = tell_beginnings(asked.questions)
    return [[Cell(questions[i]), *(said(asked, run, border, i) for run in outcomes)] for i in places]


def said(asked: Asked, run: Outcome, border: float | None, place: int) -> Cell:
    """Return what a run generated for a question, or the answer it found likeliest, with what that was worth."""
    if run.answered.generated is not None:
        text = run.answered.generated[place]
    else:
        log_probs = (run.answered.log_probs or [])[place]
        text = asked.answers[place][int(np.argmax(log_probs))]
    value = float(run.values[place])
    worth = f"{value:.3g}" if border is None or value not in (0.0, 1.0) else "right" if value > border else "wrong"
    return Cell(shorten_text(text) or "(nothing)", f"({worth})")


def tell_beginnings(questions: Sequence[str]) -> list[str]:
    """Return the questions' beginnings, without the sentences that all of them begin with."""
    skipped = shared_letters(questions)
    return [shorten_text(f"…{text[skipped:]}" if skipped else text) for text in questions]


def shared_letters(questions: Sequence[str]) -> int:
    """Return how many letters long the sentences are that all questions begin with; 0 where they are not worth it."""
    if len(questions) < 2:
        return 0
    # What the first and the last of them in order share, all of them do.
    letters = takewhile(lambda pair: pair[0] == pair[1], zip(min(questions), max(questions), strict=False))
    ends = [found.end() for found in SENTENCE_END.finditer("".join(letter for letter, _ in letters))]
    longest = max(ends, default=0)
    return longest if LEAST_SHARED <= longest < min(map(len, questions)) else 0


def shorten_text(text: str) -> str:
    """Return the beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_LETTERS else f"{line[: MAX_LETTERS - 1]}…"
