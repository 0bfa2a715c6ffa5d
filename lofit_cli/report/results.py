"""What the stages print as results, on standard output."""

from lofit_cli.analysis.grouping import name_method
from lofit_cli.analysis.statistics import Summary
from lofit_cli.artifacts.head_mask import HeadMask
from lofit_cli.artifacts.predictions import PERCENT, metric_unit
from lofit_cli.report.tables import Column, Table, left_and_right, show_table

MAX_LISTED_HEADS = 10


def print_head_mask(heads: HeadMask) -> None:
    """Print the best of the selected heads."""
    ranked = heads.ranked_heads()
    title = f"{len(ranked)} of {heads.geometry.total_heads} heads selected ({heads.selector})"
    rows = [[str(layer), str(head), f"{score:.4f}"] for layer, head, score in ranked[:MAX_LISTED_HEADS]]
    cut = len(ranked) > MAX_LISTED_HEADS
    note = f"the first {MAX_LISTED_HEADS}; all of them are in head_mask.json" if cut else ""
    show_table(Table(title, [*map(Column, ("layer", "head", "score"))], rows, note))


def print_metrics(method: str, task: str, protocol: str, split: str, summaries: dict[str, Summary]) -> None:
    """Print each metric, in percent, with its standard error."""
    num_questions = next(iter(summaries.values())).num_questions
    title = f"{name_method(method)} on {task} ({protocol}), {num_questions} {split} questions"
    rows = [
        [name.upper(), _amount(name, found.mean), _amount(name, found.standard_error)]
        for name, found in summaries.items()
    ]
    show_table(Table(title, left_and_right("metric", "mean %", "standard error"), rows))


def _amount(metric: str, value: float | None) -> str:
    """Return a value in percent, or in its metric's own unit, which is then named."""
    unit = metric_unit(metric)
    named = "" if unit == PERCENT else f" {unit.of_mean}"
    return "" if value is None else f"{unit.factor * value:.2f}{named}"
