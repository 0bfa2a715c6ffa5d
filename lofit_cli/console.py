"""What a person sees while a stage runs: progress on standard error, results on standard output, to be piped."""

import os
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

HIDDEN = {"Cc", "Cf", "Cn", "Cs", "Zl", "Zp"}
"""Unicode's categories of what is acted on or not shown: control, format, unassigned, surrogate, line ends."""
JOINERS = "\u200c\u200d"
"""Format characters that are part of how Persian, Hindi and family emoji are spelt."""
WIDE = 60
"""From this many columns on, a terminal has room for more than how far a stage is and the time left."""
LINE_SECONDS = 60.0
"""Where there is no terminal to draw a bar on, a line says so often how far a stage is."""
PLAIN = {"…": "...", "·": "-"}
"""What stands for our own marks in an encoding that lacks them."""


def visible(text: str) -> str:
    r"""Return text whose control, bidirectional and unpaired characters are written out, as in `\x1b` and `\u202e`.

    No line end is left, so that a name from a file or folder can't look like a line of ours.
    """
    if text.isprintable():
        return text
    return "".join(map(_written_out, text))


def _written_out(letter: str) -> str:
    if letter in JOINERS or unicodedata.category(letter) not in HIDDEN:
        return letter
    return letter.encode("unicode_escape").decode("ascii")


def terminal_text(text: str, encoding: str) -> str:
    """Return text that a terminal of this encoding shows as it is and acts on in no way."""
    shown = visible(text)
    try:
        shown.encode(encoding)
    except UnicodeEncodeError:
        plain = "".join(PLAIN.get(letter, letter) for letter in shown)
        return plain.encode(encoding, "backslashreplace").decode(encoding)
    return shown


class Terminal(Console):
    """A console that loses what can no longer be written instead of ending a run of hours for it."""

    def on_broken_pipe(self) -> None:
        """Go on in silence: whoever read this, such as `head`, has gone away."""
        self.quiet = True
        # What Python still holds is written when it exits; into the pipe, that would be an error.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())

    def _check_buffer(self) -> None:
        try:
            super()._check_buffer()
        except OSError as error:
            self.on_broken_pipe()
            if not self.stderr:
                say(f"note: not all results could be printed ({error.strerror or error})")


console = Terminal(stderr=True)
_speaks = True


def leave_the_word() -> None:
    """Say no more: another process speaks for this one."""
    global _speaks
    _speaks, console.quiet = False, True


def results() -> Console:
    """Return standard output, as it is now."""
    return Terminal(quiet=not _speaks)


class Advance(Protocol):
    """Moves a progress bar on by a number of steps, with a word on how it goes."""

    def __call__(self, num_steps: int, status: str = "") -> None:
        """Move on by `num_steps`."""


@contextmanager
def progress_bar(title: str, total: int) -> Iterator[Advance]:
    """Show a bar with the time left while the block runs; a line a minute where that goes to a file."""
    words, status = (TextColumn(f"{{task.{name}}}", markup=False) for name in ("description", "fields[status]"))
    count, left = MofNCompleteColumn(), (TextColumn("left"), TimeRemainingColumn())
    wide = (words, BarColumn(), count, TimeElapsedColumn(), *left, status)
    with Progress(*(wide if console.width >= WIDE else (count, *left)), console=console) as progress:
        progress.add_task(title, total=total, status="")
        (bar,) = progress.tasks
        due = time.monotonic() + LINE_SECONDS

        def advance(num_steps: int, status: str = "") -> None:
            nonlocal due
            progress.update(bar.id, advance=num_steps, status=status)
            if not console.is_terminal and time.monotonic() >= due:
                due = time.monotonic() + LINE_SECONDS
                left = f", about {timedelta(seconds=round(bar.time_remaining))} left" if bar.time_remaining else ""
                say(f"{title}: {bar.completed:.0f} of {total}{left} {status}".rstrip())

        yield advance


def say(message: str) -> None:
    """Tell the person at the terminal something that is not a result."""
    text = terminal_text(message, console.encoding)
    console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)


def show_text(text: str) -> None:
    """Print lines on standard output as they are, but for what its encoding lacks."""
    terminal = results()
    encoded = text.encode(terminal.encoding, "backslashreplace")
    terminal.out(encoded.decode(terminal.encoding), highlight=False, end="")
    # What is said next, on standard error, stands after it.
    terminal.file.flush()
