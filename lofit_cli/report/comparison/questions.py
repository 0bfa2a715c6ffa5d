"""The questions behind a comparison, read again run by run, as many as a page of a few megabytes can hold."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lofit_cli.analysis.comparison import ComparedSection
from lofit_cli.artifacts.evaluations import Evaluation
from lofit_cli.artifacts.predictions import Measured, read_metrics
from lofit_cli.artifacts.texts import Answered, Asked, read_texts
from lofit_cli.errors import UserError

BUDGET = 3_200_000
"""Bytes of JSON in a page: with its figures it stays under 5 MB, and a browser opens it at once."""
MAX_RUNS = 120
"""As many run directories are read; of more, a page would be slow to choose from and a comparison slow to make."""


@dataclass(frozen=True, eq=False)
class FoldQuestions:
    """The questions of a fold, the same for all of a section's runs.

    Attributes:
        asked: None where their texts could not be read, or had no room.
    """

    question_ids: list[str]
    categories: list[str]
    asked: Asked | None


@dataclass(frozen=True, eq=False)
class ShownRun:
    """A run whose questions the page shows.

    Attributes:
        row: its row's place in the section.
        values: metric -> (num_questions,).
        answered: None where the texts could not be read, or had no room.
    """

    row: int
    run: Evaluation
    values: dict[str, NDArray[np.float64]]
    answered: Answered | None


@dataclass(eq=False)
class SectionQuestions:
    """What the page shows of a section's questions: fold -> questions, and the runs on them, in the rows' order."""

    folds: dict[int, FoldQuestions] = field(default_factory=dict)
    runs: list[ShownRun] = field(default_factory=list)


@dataclass(eq=False)
class LeftOut:
    """What the page does not show, and why.

    Attributes:
        damaged: sentences about texts or runs that could not be read.
        textless: runs whose values are shown without their texts, for want of room.
        runs: runs that are not shown at all, for want of room.
    """

    damaged: list[str] = field(default_factory=list)
    textless: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Notice:
    """A sentence about what is left out, and the names of what it is."""

    text: str
    names: list[str]


def describe_left_out(left_out: LeftOut) -> list[Notice]:
    """Return a sentence for each reason why something is not shown."""
    count = len(left_out.textless)
    notices = [
        Notice(f"Some of what runs left could not be read ({len(left_out.damaged)} times).", left_out.damaged),
        Notice(f"To keep this file small, the texts and log-probs of {count} runs are left out.", left_out.textless),
        Notice(f"To keep this file small, {len(left_out.runs)} runs are left out of this list.", left_out.runs),
    ]
    return [notice for notice in notices if notice.names]


def collect_questions(
    sections: Sequence[ComparedSection], budget: int = BUDGET
) -> tuple[list[SectionQuestions], LeftOut]:
    """Read the questions of the runs of each section: each row's first seed of every fold before any other.

    What can't be read, or does not fit into the budget, is left out and named; nothing of it ends a comparison.

    Args:
        budget: bytes of JSON.
    """
    collector = _Collector([SectionQuestions() for _ in sections], budget)
    for number, (section, row, run) in enumerate(_in_order(sections)):
        if number < MAX_RUNS:
            collector.add(section, sections[section].metrics, row, run)
        else:
            collector.left_out.runs.append(str(run.path))
    for found in collector.sections:
        found.runs.sort(key=lambda shown: shown.row)
    return collector.sections, collector.left_out


def _in_order(sections: Sequence[ComparedSection]) -> Iterator[tuple[int, int, Evaluation]]:
    """Yield (section, row, run): the first seeds of all rows and folds, then the second ones, and so on."""
    ranked = []
    for i, section in enumerate(sections):
        for j, row in enumerate(section.rows):
            for fold in row.folds:
                runs = [run for run in row.runs if run.fold == fold]
                ranked += [(rank, i, j, run) for rank, run in enumerate(runs)]
    yield from ((i, j, run) for _, i, j, run in sorted(ranked, key=lambda found: found[:3]))


@dataclass(eq=False)
class _Collector:
    """Keeps what fits: the texts of runs go first, then whole runs."""

    sections: list[SectionQuestions]
    room: int
    left_out: LeftOut = field(default_factory=LeftOut)

    def add(self, section: int, metrics: Sequence[str], row: int, run: Evaluation) -> None:
        """Add a run, with the questions of its fold if it is the first one on them."""
        try:
            measured = read_metrics(run.path, metrics)
        except UserError as error:
            self.left_out.damaged.append(str(error))
            return
        place = self.sections[section]
        fold = place.folds.get(run.fold)
        if fold and fold.question_ids != measured.question_ids:
            self.left_out.damaged.append(f"{run.path} has changed since it was compared")
        elif not self._take(_size([*map(list, measured.values.values()), *([] if fold else [measured.question_ids])])):
            self.left_out.runs.append(str(run.path))
        else:
            answered = self._add_texts(place, fold, measured, run)
            place.runs.append(ShownRun(row, run, measured.values, answered))

    def _add_texts(
        self, place: SectionQuestions, fold: FoldQuestions | None, measured: Measured, run: Evaluation
    ) -> Answered | None:
        """Return what the model made of the questions, where it can be read and there is room for it."""
        place.folds[run.fold] = fold or FoldQuestions(measured.question_ids, measured.categories, None)
        try:
            asked, answered = read_texts(run.path)
        except UserError as error:
            self.left_out.damaged.append(str(error))
            return None
        known = fold.asked if fold else None
        if known and known != asked:
            self.left_out.damaged.append(f"the texts of {run.path} are not those of the other runs of its fold")
            return None
        needed = _size(answered.generated or answered.log_probs)
        if not self._take(needed + (0 if known else _size([asked.questions, asked.answers]))):
            self.left_out.textless.append(str(run.path))
            return None
        place.folds[run.fold] = FoldQuestions(measured.question_ids, measured.categories, asked)
        return answered

    def _take(self, needed: int) -> bool:
        """Take room for this many bytes; return whether there was as much."""
        if needed > self.room:
            return False
        self.room -= needed
        return True


def _size(content: object) -> int:
    """Return about how many bytes texts and rounded numbers need as JSON."""
    if isinstance(content, list) and content and isinstance(content[0], float):
        return 7 * len(content)
    if isinstance(content, list):
        return 2 + sum(map(_size, content))
    return len(json.dumps(content, ensure_ascii=False).encode("utf-8", "backslashreplace")) + 1
