"""JSON read into a dataclass, or one clause that says what is missing or of the wrong type."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Typed = TypeVar("Typed", bound=DataclassInstance)

LARGEST = 2**63 - 1
SHOWN = 40
"""How much of a value that does not fit is repeated, in letters."""
WORDS: dict[Any, tuple[str, str]] = {
    str: ("a text", "texts"),
    int: ("a whole number from 0", "whole numbers from 0"),
    float: ("a number", "numbers"),
    bool: ("true or false", "true or false"),
    NoneType: ("null", "null"),
    list: ("a list", "lists"),
    dict: ("an object", "objects"),
}
"""Each type in words, alone and as the elements of a list."""


class UnfitError(ValueError):
    """What is to be said of content that does not fit a dataclass: the end of a sentence."""


def read_typed(kind: type[Typed], content: Mapping[str, Any]) -> Typed:
    """Make a dataclass of an object of JSON, which may say more than the dataclass has fields for.

    Raises:
        UnfitError: a field without a default is missing, or a value is not of its field's type.
    """
    for field in fields(kind):
        if field.name not in content and field.default is MISSING and field.default_factory is MISSING:
            raise UnfitError(f"does not state its {field.name}")
    known = get_type_hints(kind)
    hints = {field.name: known[field.name] for field in fields(kind)}
    return kind(**{name: fit(name, content[name], hint) for name, hint in hints.items() if name in content})


def fit(name: str, value: Any, kind: Any) -> Any:
    """Return a field's value, refusing one of another type.

    Raises:
        UnfitError: it is.
    """
    options = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    for option in options:
        if is_dataclass(option) and isinstance(option, type) and isinstance(value, dict):
            return read_typed(option, value)
        if _is(value, option):
            return value
    raise UnfitError(f"states {name} as {json.dumps(value, default=repr)[:SHOWN]}, not as {_describe(kind)}")


def _is(value: Any, kind: Any) -> bool:
    origin, arguments = get_origin(kind), get_args(kind)
    if isinstance(kind, UnionType):
        return any(_is(value, option) for option in arguments)
    if origin is list:
        return isinstance(value, list) and all(_is(element, arguments[0]) for element in value)
    if origin is dict:
        return isinstance(value, dict) and all(_is(element, arguments[1]) for element in value.values())
    if kind is Any or isinstance(value, bool):
        return kind in (Any, bool)
    if kind is float:
        return isinstance(value, int | float) and math.isfinite(value) and abs(value) <= LARGEST
    return isinstance(value, kind) and not (kind is int and not 0 <= value <= LARGEST)


def _describe(kind: Any, many: bool = False) -> str:
    """Return a type in words: `a list of texts`, `a number or null`."""
    if isinstance(kind, UnionType):
        return " or ".join(_describe(option, many) for option in get_args(kind))
    word = WORDS.get(get_origin(kind) or kind, WORDS[dict])[many]
    elements = [_describe(element, many=True) for element in get_args(kind)[-1:] if element is not Any]
    return " of ".join([word, *elements])
