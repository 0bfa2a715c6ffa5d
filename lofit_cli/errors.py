"""What a person is told when something cannot be done: one sentence, no traceback."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager


class UserError(Exception):
    """Input that cannot be used. The message names the key, the value, what is allowed and what to do."""

    exit_code = 2
    is_shared = False
    """Whether each of several processes raises it, so that it is enough if one says it."""


class RunError(UserError):
    """A run that was asked for correctly and could not be finished."""

    exit_code = 1


class UnusableRunError(UserError):
    """A run directory that is damaged or of another version; where many are looked at, it is named and left out."""


class ItemError(UserError):
    """One of several prompts with answers that can't be used; who knows what it asks names it, with `naming_items`."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(f"item {index + 1} {reason}")
        self.index = index
        self.reason = reason


@contextmanager
def naming_item(index: int) -> Iterator[None]:
    """Make an error without a subject, inside a `with` block, one about the prompt of this number."""
    try:
        yield
    except ItemError:
        raise
    except UserError as error:
        raise ItemError(index, str(error))


@contextmanager
def naming_items(names: Sequence[str]) -> Iterator[None]:
    """Give the prompts of an `ItemError` inside a `with` block these names, in their order."""
    try:
        yield
    except ItemError as error:
        raise UserError(f"question {names[error.index]} {error.reason}")


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Return a sentence ending that lists what is allowed and, where one is close, the nearest name."""
    names = sorted(allowed)
    nearest = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    question = f"did you mean '{nearest[0]}'? " if nearest else ""
    return f"{question}allowed: {', '.join(names) or 'nothing'}"


def beginning(text: str, length: int = 60) -> str:
    """Return a text as a sentence quotes it: on one line, and cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[:length].rstrip()}…"
