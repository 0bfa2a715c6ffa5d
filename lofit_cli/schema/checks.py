"""What a value may be, and the sentence that refuses any other."""

import math
import re
from collections.abc import Sequence

from lofit_cli.errors import UserError, did_you_mean


def one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse a name that is not one of those allowed."""
    if value not in allowed:
        raise UserError(f"{key}={value} is not known; {did_you_mean(value, allowed)}")


LARGEST = 1e37
"""The largest of any number that has no limit of its own: float32 holds little more."""


def within(key: str, value: float, least: float, most: float = LARGEST) -> None:
    """Refuse a number outside its limits."""
    if not least <= value <= most:
        limit = f"{least} or more" if most == LARGEST and value < least else f"{least} to {most}"
        raise UserError(f"{key}={value} is not allowed; it must be {limit}")


def above_zero(key: str, value: float, most: float = LARGEST) -> None:
    """Refuse a number that is not above 0."""
    if not 0 < value <= most:
        raise UserError(f"{key}={value} is not allowed; it must be a number above 0, up to {most}")


def some_numbers(key: str, values: Sequence[float]) -> None:
    """Refuse an empty list, numbers that are not finite, and a number that stands there twice."""
    if not values or not all(math.isfinite(value) for value in values):
        raise UserError(f"{key}={values} is not allowed; give one finite number or more, as in '{key}=[1,5]'")
    each_once(key, values)


def each_once(key: str, values: Sequence[float | str]) -> None:
    """Refuse a list that holds something twice, which would change nothing but the run's name."""
    if len({*values}) < len(values):
        raise UserError(f"{key}={list(values)} is not allowed; give each once")


def not_empty(**values: str | None) -> None:
    """Refuse values that are set, and empty."""
    for key, value in values.items():
        if value is not None and not value.strip():
            raise UserError(f"{key}= is empty; give it a value, or leave it out for the default")


def line_ends(text: str) -> str:
    r"""Return a text with its `\n` and `\t`, two characters each in quotation marks on a command line, as one each."""
    return re.sub(r"\\+n", "\n", re.sub(r"\\+t", "\t", text))
