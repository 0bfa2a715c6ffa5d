"""What the stages print as results, on standard output."""

from rich.table import Table

from lofit_cli.analysis.statistics import Summary
from lofit_cli.artifacts.head_mask import HeadMask
from lofit_cli.console import show

MAX_LISTED_HEADS = 10


def print_head_mask(heads: HeadMask) -> None:
    """Print the best of the selected heads."""
    ranked = heads.ranked_heads()
    table = Table(title=f"{len(ranked)} of {heads.geometry.total_heads} heads selected ({heads.selector})")
    for column in ("layer", "head", "score"):
        table.add_column(column, justify="right")
    for layer, head, score in ranked[:MAX_LISTED_HEADS]:
        table.add_row(str(layer), str(head), f"{score:.4f}")
    if len(ranked) > MAX_LISTED_HEADS:
        table.caption = f"the first {MAX_LISTED_HEADS}; all of them are in head_mask.json"
    show(table)


def print_metrics(method: str, task: str, protocol: str, split: str, summaries: dict[str, Summary]) -> None:
    """Print each metric, in percent, with its standard error."""
    num_questions = next(iter(summaries.values())).num_questions
    table = Table(title=f"{method} on {task} ({protocol}), {num_questions} {split} questions")
    for column in ("metric", "mean %", "standard error"):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for name, summary in summaries.items():
        error = "" if summary.standard_error is None else f"{100 * summary.standard_error:.2f}"
        table.add_row(name.upper(), f"{100 * summary.mean:.2f}", error)
    show(table)
