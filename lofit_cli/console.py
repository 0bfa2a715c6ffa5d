"""What a person sees while a stage runs: progress on standard error, results on standard output, to be piped."""

import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

HIDDEN = {"Cc", "Cf", "Cn", "Cs", "Zl", "Zp"}
"""Unicode's categories of what is acted on or not shown: control, format, unassigned, surrogate, line ends."""
JOINERS = "\u200c\u200d"
"""Format characters that are part of how Persian, Hindi and family emoji are spelt."""
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


def results() -> Console:
    """Return standard output, as it is now."""
    return Terminal()


class Advance(Protocol):
    """Moves a progress bar on by a number of steps, with a word on how it goes."""

    def __call__(self, num_steps: int, status: str = "") -> None:
        """Move on by `num_steps`."""


@contextmanager
def progress_bar(title: str, total: int) -> Iterator[Advance]:
    """Show a bar with the time left while the block runs."""
    words = TextColumn("{task.description}", markup=False)
    status = TextColumn("{task.fields[status]}", markup=False)
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(words, BarColumn(), MofNCompleteColumn(), *times, status, console=console) as progress:
        bar = progress.add_task(title, total=total, status="")

        def advance(num_steps: int, status: str = "") -> None:
            progress.update(bar, advance=num_steps, status=status)

        yield advance


def say(message: str) -> None:
    """Tell the person at the terminal something that is not a result."""
    text = terminal_text(message, console.encoding)
    console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)


def speak_any_encoding() -> None:
    """Let standard output write out what its encoding lacks, as standard error does by default."""
    if reconfigure := getattr(sys.stdout, "reconfigure", None):
        reconfigure(errors="backslashreplace")
