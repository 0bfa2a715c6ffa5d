"""What a person sees while a stage runs: progress on standard error, results on standard output, to be piped."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(stderr=True)


class Advance(Protocol):
    """Moves a progress bar on by a number of steps, with a word on how it goes."""

    def __call__(self, num_steps: int, status: str = "") -> None:
        """Move on by `num_steps`."""


@contextmanager
def progress_bar(title: str, total: int) -> Iterator[Advance]:
    """Show a bar with the time left while the block runs."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    left = (TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[status]}"))
    with Progress(*columns, *left, console=console) as progress:
        bar = progress.add_task(title, total=total, status="")

        def advance(num_steps: int, status: str = "") -> None:
            progress.update(bar, advance=num_steps, status=status)

        yield advance


def say(message: str) -> None:
    """Tell the person at the terminal something that is not a result."""
    console.print(message, highlight=False, markup=False, soft_wrap=True)


def show(result: RenderableType) -> None:
    """Print a result; a reader that has gone away, such as `head`, ends the printing and not the run."""
    with suppress(SystemExit):
        Console().print(result)
