"""What the stages print as results, on standard output."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lofit_cli.analysis.changes import choose_examples
from lofit_cli.analysis.grouping import BASE_MODEL, name_method
from lofit_cli.analysis.statistics import Summary
from lofit_cli.artifacts.head_mask import HeadMask
from lofit_cli.artifacts.predictions import PERCENT, GeneratedAnswer, metric_unit, read_metrics, right_above
from lofit_cli.artifacts.texts import Answered, Asked, read_texts
from lofit_cli.errors import UserError
from lofit_cli.report.examples import Outcome, example_rows
from lofit_cli.report.tables import Column, Table, left_and_right, show_table

MAX_LISTED_HEADS = 10
MAX_TEXTS = 5


def print_head_mask(heads: HeadMask) -> None:
    """Print the best of the selected heads."""
    ranked = heads.ranked_heads()
    title = f"{len(ranked)} of {heads.geometry.total_heads} heads selected ({heads.selector})"
    rows = [[str(layer), str(head), f"{score:.4f}"] for layer, head, score in ranked[:MAX_LISTED_HEADS]]
    cut = len(ranked) > MAX_LISTED_HEADS
    note = f"the first {MAX_LISTED_HEADS}; all of them are in head_mask.json" if cut else ""
    show_table(Table(title, [*map(Column, ("layer", "head", "score"))], rows, note))


def print_metrics(method: str, task: str, protocol: str, split: str, summaries: dict[str, Summary]) -> None:
    """Print each metric with its standard error, in percent where no metric has another unit."""
    all_percent = {*map(metric_unit, summaries)} == {PERCENT}
    num_questions = next(iter(summaries.values())).num_questions
    title = f"{name_method(method)} on {task} ({protocol}), {num_questions} {split} questions"
    rows = [
        [name.upper(), *(_amount(name, value, not all_percent) for value in (found.mean, found.standard_error))]
        for name, found in summaries.items()
    ]
    show_table(Table(title, left_and_right("metric", "mean %" if all_percent else "mean", "standard error"), rows))


def _amount(metric: str, value: float | None, is_named: bool) -> str:
    """Return a value in its metric's unit, which may be named."""
    unit = metric_unit(metric)
    named = f" {unit.of_mean}" if is_named else ""
    return "" if value is None else f"{unit.factor * value:.2f}{named}"


def print_answers(method: str, predictions: Sequence[GeneratedAnswer], base_run: Path | None) -> None:
    """Print a few of the texts that a model generated, beside those of the model as it is where a run has them.

    Args:
        base_run: an evaluation of the model without an intervention, on the same questions.
    """
    (metric, *_), questions = predictions[0].metrics, [prediction.question for prediction in predictions]
    asked = Asked(questions, [prediction.accepted for prediction in predictions], None)
    generated = [prediction.generated for prediction in predictions]
    after = Outcome(np.array([p.metrics[metric] for p in predictions]), Answered(None, generated))
    before = _read_base(base_run, asked, metric) if base_run else None
    border = right_above(metric)
    changed = choose_examples(before.values, after.values, border, MAX_TEXTS) if before else []
    places = [*changed, *(i for i in range(len(questions)) if i not in changed)][:MAX_TEXTS]
    rows = example_rows(asked, [before, after] if before else [after], border, places)
    heads = ["question", *([BASE_MODEL] if before else []), name_method(method)]
    note = f"beside them {base_run}" if before else "no finished evaluation of the model as it is has these questions"
    title = f"{len(places)} of {len(questions)} generated texts"
    show_table(Table(title, [Column(head, "left") for head in heads], rows, note))


def _read_base(folder: Path, asked: Asked, metric: str) -> Outcome | None:
    """Return what the model as it is generated; None where that can't be read, or was something else."""
    try:
        values = read_metrics(folder, [metric]).values[metric]
        theirs, answered = read_texts(folder)
    except UserError:
        return None
    return Outcome(values, answered) if theirs == asked and answered.generated is not None else None
