"""Questions that changed between the baseline and each row, for the terminal."""

import numpy as np
from numpy.typing import NDArray

from lofit_cli.analysis.changes import LEAST_CHANGE, choose_examples, crossings
from lofit_cli.analysis.comparison import ComparedSection
from lofit_cli.artifacts.predictions import right_above
from lofit_cli.report.comparison.questions import SectionQuestions, ShownRun
from lofit_cli.report.comparison.words import named_rows
from lofit_cli.report.examples import Outcome, example_rows
from lofit_cli.report.tables import Cell, Column, Entry, Table

MAX_EXAMPLES = 3
MAX_ROWS = 5
"""Of more rows the examples would be longer than a person reads; the report has them all."""


def examples_table(name: str, section: ComparedSection, found: SectionQuestions) -> Table | None:
    """Return up to three changed questions for each of the first rows; None where no texts are known or none changed.

    Args:
        name: the section's.
    """
    pairs = [(label, pair) for place, (label, _) in enumerate(named_rows(section)) if (pair := _pair(found, place))]
    rows = [line for label, pair in pairs[:MAX_ROWS] for line in _rows(label, section.metrics[0], found, *pair)]
    if not rows:
        return None
    left_out = len(pairs) - MAX_ROWS
    more = f"{left_out} more rows and " if left_out > 0 else ""
    note = f"before: baseline, after: row; {_kind(found)}; {more}all other questions: report.html, Changed questions"
    return Table(
        f"Changed questions of {name}", [Column(head, "left") for head in ("question", "before", "after")], rows, note
    )


def _kind(found: SectionQuestions) -> str:
    generates = any(shown.answered and shown.answered.generated is not None for shown in found.runs)
    return "what was generated" if generates else "the likeliest answer"


def _pair(found: SectionQuestions, row: int) -> tuple[ShownRun, ShownRun] | None:
    """Return a run of the baseline and one of a row, on the same questions, with texts and if possible one seed."""
    if row == 0:
        return None
    known = [shown for shown in found.runs if shown.answered]
    pairs = [(a, b) for b in known if b.row == row for a in known if a.row == 0 and a.run.fold == b.run.fold]
    return min(pairs, key=lambda pair: (pair[0].run.seed != pair[1].run.seed, pair[1].run.fold), default=None)


def _rows(label: str, metric: str, found: SectionQuestions, before: ShownRun, after: ShownRun) -> list[list[Entry]]:
    """Return a line about a row's run and its examples; none where no question changed."""
    asked, border = found.folds[after.run.fold].asked, right_above(metric)
    values = before.values[metric], after.values[metric]
    places = choose_examples(*values, border, MAX_EXAMPLES)
    if not (places and asked and before.answered and after.answered):
        return []
    about = f"fold {after.run.fold}, seed {after.run.seed}: {_count(*values, border)}"
    outcomes = Outcome(values[0], before.answered), Outcome(values[1], after.answered)
    examples = example_rows(asked, outcomes, border, places)
    return [[[Cell(label, is_bold=True), Cell(about)], "", ""], *examples]


def _count(before: NDArray[np.float64], after: NDArray[np.float64], border: float | None) -> str:
    """Say how many questions became right and wrong, or how many values moved where none is right."""
    if border is None:
        change = after - before
        return f"{int((change >= LEAST_CHANGE).sum())} more, {int((change <= -LEAST_CHANGE).sum())} less"
    crossed = crossings(before, after, border)
    return f"{int((crossed > 0).sum())} to right, {int((crossed < 0).sum())} to wrong"
