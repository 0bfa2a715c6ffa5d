"""What is typed after a key that holds text stays as it was typed: a folder `2024_11` is no number, `~` is the home."""

import re
import typing
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf

from lofit_cli.errors import UserError
from lofit_cli.hydra_errors import explain_unparsable

FOLDERS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
"""Keys of Hydra's own that hold text."""
MAX_SHOWN = 60
SYNTAX = re.compile(r"""['"\[\]{}()$]""")
"""What makes a value more than plain words: quotation marks, lists, functions and interpolations."""


def parse_overrides(overrides: list[str]) -> list[Override]:
    """Parse arguments of the form KEY=VALUE.

    Raises:
        UserError: one of them is something else, or holds a number of thousands of digits.
    """
    try:
        return OverridesParser.create().parse_overrides(overrides)
    except OverrideParseException as error:
        raise UserError(explain_unparsable(error))
    except ValueError:
        longest = max(overrides, key=len)
        raise UserError(f"'{longest[:MAX_SHOWN]}...' holds a number of more digits than can be read; shorten it")


def group_overrides(overrides: list[str]) -> list[str]:
    """Return those that choose an option of a config group or set a key without a dot, as far as they can be parsed."""
    parsed = (parse_one(override) for override in overrides)
    return [str(o.input_line) for o in parsed if o and "." not in o.key_or_group and not o.is_add()]


def keep_texts(overrides: list[str], base: DictConfig, is_sweep: bool) -> list[str]:
    """Return the overrides with quotation marks around values that a key of text would otherwise lose or refuse.

    Hydra reads `task.data_dir=2024_11` as the number 202411 and stops at `~`, accents and brackets.

    Args:
        base: the config of the stage, whose dataclasses say which keys hold text.
        is_sweep: whether commas separate the points of a sweep.
    """
    return [_keep_text(override, base, is_sweep) for override in overrides]


def _keep_text(override: str, base: DictConfig, is_sweep: bool) -> str:
    key, _, value = override.partition("=")
    kind = _kind(base, key)
    if kind is None or not value or _is_text(parse_one(override)):
        return override
    if kind is str and not value.startswith(("'", '"', "$")) and (not is_sweep or "," not in value):
        return f"{key}={quote(value)}"
    inner = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    means_more = SYNTAX.search(inner) and (parse_one(override) is not None or re.search("['\"]", inner))
    if means_more or (kind is str and not is_sweep):
        return override
    listed = ",".join(quote(part.strip()) for part in inner.split(","))
    return f"{key}=[{listed}]" if inner != value else f"{key}={listed}"


def parse_one(override: str) -> Override | None:
    """Return an override as Hydra reads it, or None where it can't."""
    try:
        return OverridesParser.create().parse_override(override)
    except (HydraException, ValueError):
        return None


def _is_text(override: Override | None) -> bool:
    """Return whether Hydra reads a value as the text that was typed, as nothing, or as a sweep of its own making."""
    if override is None:
        return False
    value: Any = override.value()
    if isinstance(value, ChoiceSweep):
        value = value.list
    values = value if isinstance(value, list) else [value]
    return not any(isinstance(part, bool | int | float | list | dict) for part in values)


def _kind(base: DictConfig, key: str) -> Any:
    """Return what a key holds: `str`, `list[str]`, or None for anything else."""
    if key in FOLDERS:
        return str
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(base, parent) if parent else base
    schema = OmegaConf.get_type(node) if isinstance(node, DictConfig) else None
    hint = typing.get_type_hints(schema).get(name) if isinstance(schema, type) else None
    kinds = [kind for kind in (typing.get_args(hint) or (hint,)) if kind is not type(None)]
    if typing.get_origin(hint) in (list, dict):
        kinds = [hint]
    return kinds[0] if kinds[:1] in ([str], [list[str]]) else None


def quote(text: str) -> str:
    """Return text in quotation marks, as Hydra reads it back letter for letter; a `~` before it is the home folder."""
    if text == "~" or text.startswith("~/"):
        text = str(Path(text).expanduser())
    # Backslashes count only before a quotation mark and at the end, where they must be doubled.
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text)
    return f"'{escaped}'"
