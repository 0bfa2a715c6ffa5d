"""A comparison's questions as JSON inside its page, which `report.js` reads.

Nothing in it can end the element that holds it, and texts are as `visible` writes them, with their line ends kept.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from numpy.typing import NDArray

from lofit_cli.analysis.changes import LEAST_CHANGE
from lofit_cli.analysis.comparison import ComparedSection
from lofit_cli.artifacts.predictions import IDEALS, merit, right_above
from lofit_cli.console import visible
from lofit_cli.report.comparison.questions import FoldQuestions, SectionQuestions, ShownRun
from lofit_cli.report.comparison.words import named_rows
from lofit_cli.report.examples import shared_letters

MAX_LETTERS = 4000
"""The longest text that a page shows; of a longer one, its beginning."""
ESCAPES = str.maketrans({"<": r"\u003c", ">": r"\u003e", "&": r"\u0026"})


def embed_questions(
    names: Sequence[str], sections: Sequence[ComparedSection], found: Sequence[SectionQuestions]
) -> Markup:
    """Return the content of a `<script type="application/json">` element; nothing where no run's questions are known.

    Args:
        names: a short name for each section.
        found: the questions of each.
    """
    if not any(questions.runs for questions in found):
        return Markup("")
    content = {
        "leastChange": LEAST_CHANGE,
        "sections": [
            _section(name, section, questions)
            for name, section, questions in zip(names, sections, found, strict=True)
            if questions.runs
        ],
    }
    return script_json(content)


def script_json(content: Any) -> Markup:
    """Return JSON that no browser takes for markup, whatever texts are in it."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.translate(ESCAPES))  # noqa: S704 - escaped in the line above, as JSON and not as HTML


def _section(name: str, section: ComparedSection, found: SectionQuestions) -> dict[str, Any]:
    labels = [label for label, _ in named_rows(section)]
    return {
        "name": visible(name),
        "metrics": [
            {"name": visible(metric), "rightAbove": right_above(metric), "moreIsBetter": metric not in IDEALS}
            for metric in section.metrics
        ],
        "folds": {str(fold): _fold(questions) for fold, questions in sorted(found.folds.items())},
        "runs": [
            {"label": label, "row": runs[0].row, "merit": _merit(section, runs[0].row)}
            | {"folds": {str(shown.run.fold): _run(shown) for shown in runs}}
            for label, runs in _by_seed(labels, found.runs).items()
        ],
    }


def _merit(section: ComparedSection, row: int) -> float:
    """Return how good a row's headline metric is."""
    headline = section.metrics[0]
    return merit(headline, section.rows[row].metrics[headline].mean)


def _by_seed(labels: Sequence[str], runs: Sequence[ShownRun]) -> Mapping[str, list[ShownRun]]:
    """Return the runs of a row that share a seed, which are of different folds, under a name for them."""
    seeds = {row: {shown.run.seed for shown in runs if shown.row == row} for row in {shown.row for shown in runs}}
    found: dict[str, list[ShownRun]] = {}
    for shown in runs:
        seed = f", seed {shown.run.seed}" if len(seeds[shown.row]) > 1 else ""
        found.setdefault(visible(labels[shown.row] + seed), []).append(shown)
    return found


def _fold(found: FoldQuestions) -> dict[str, Any]:
    names = list(dict.fromkeys(found.categories))
    places = {name: place for place, name in enumerate(names)}
    content: dict[str, Any] = {
        "ids": [_shown(text) for text in found.question_ids],
        "categories": [_shown(name) for name in names],
        "category": [places[name] for name in found.categories],
    }
    if found.asked:
        content["questions"] = [_shown(text) for text in found.asked.questions]
        content["shared"] = shared_letters(content["questions"])
        content["answers"] = [[_shown(text) for text in texts] for texts in found.asked.answers]
    if found.asked and found.asked.correct is not None:
        content["correct"] = ["".join("1" if right else "0" for right in marks) for marks in found.asked.correct]
    return content


def _run(shown: ShownRun) -> dict[str, Any]:
    content: dict[str, Any] = {"values": [_rounded(values, right_above(name)) for name, values in shown.values.items()]}
    answered = shown.answered
    if answered and answered.log_probs is not None:
        content["logProbs"] = [[_short(value, 3) for value in values] for values in answered.log_probs]
    if answered and answered.generated is not None:
        content["texts"] = [_shown(text) for text in answered.generated]
    return content


def _rounded(values: NDArray[Any], border: float | None) -> list[float]:
    """Return a metric's values to four decimals, a value whole that these would put across the border."""
    pairs = [(float(value), _short(float(value), 4)) for value in values]
    return [value if border is not None and (value > border) != (short > border) else short for value, short in pairs]


def _short(value: float, decimals: int) -> float:
    """Return a rounded number, whole ones without the `.0` that JSON would have."""
    rounded = round(value, decimals)
    return int(rounded) if rounded == int(rounded) else rounded


def _shown(text: str) -> str:
    cut = text if len(text) <= MAX_LETTERS else f"{text[: MAX_LETTERS - 1]}…"
    return "\n".join(map(visible, cut.split("\n")))
