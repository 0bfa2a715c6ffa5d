"""What installed packages add to lofit through entry points: found by name, imported once it is asked for."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from lofit_cli.errors import UserError, did_you_mean

KINDS = ("tasks", "methods", "selectors", "interventions")
"""The entry points `lofit.KIND`, each of which has a table of our own with the same kind of values."""
SETTINGS, CONF = "lofit.settings", "lofit.conf"
"""Entry points `method.NAME`, a dataclass of settings; and packages with a folder conf/ of YAML files."""

Value = TypeVar("Value")


def look_up(kind: str, name: str, own: Mapping[str, Value], key: str) -> Value:
    """Return what a name stands for in a table of ours or, if it is not there, in an installed package.

    Args:
        key: the setting that gave the name, for the message.

    Raises:
        UserError: the name is unknown or given twice, or its package can't be imported.
    """
    plugins = find_plugins(kind, own)
    if name in own:
        return own[name]
    if name in plugins:
        found: Value = load(plugins[name])
        return found
    raise UserError(f"{key}={name} is not known; {did_you_mean(name, [*own, *plugins])}")


def find_plugins(kind: str, own: Iterable[str]) -> dict[str, EntryPoint]:
    """Return the entry points of a kind, none of them imported.

    Raises:
        UserError: a name is one of our own, or two packages give it.
    """
    found: dict[str, EntryPoint] = {}
    for point in _points(f"lofit.{kind}"):
        if point.name in own:
            raise UserError(f"{_package(point)} adds '{point.name}' to {kind}, which lofit has itself; uninstall it")
        if point.name in found:
            both = f"{_package(found[point.name])} and {_package(point)}"
            raise UserError(f"{both} both add '{point.name}' to {kind}; uninstall one of them")
        found[point.name] = point
    return found


def find_settings() -> dict[str, EntryPoint]:
    """Return the dataclasses of plugins' settings: `method.NAME` -> its entry point."""
    return {point.name: point for point in _points(SETTINGS)}


def conf_dirs() -> list[Path]:
    """Return the folders of YAML files that packages bring along."""
    folders = []
    for point in _points(CONF):
        # A package that is not there has no folder; whoever asks for an option of it is told so.
        with suppress(ImportError, ValueError):
            spec = find_spec(point.value)
            folders += [Path(place) / "conf" for place in (spec.submodule_search_locations or () if spec else ())]
    return [folder for folder in folders if folder.is_dir()]


def plugin_versions() -> dict[str, str]:
    """Return the name and version of each package that adds something."""
    points = [point for group in (*(f"lofit.{kind}" for kind in KINDS), SETTINGS, CONF) for point in _points(group)]
    return {point.dist.name: point.dist.version for point in points if point.dist}


def load(point: EntryPoint) -> Any:
    """Import what an entry point names.

    Raises:
        UserError: it can't be imported.
    """
    try:
        return point.load()
    except (Exception, SystemExit) as error:  # whatever the package does when it is imported
        raise UserError(
            f"'{point.name}' of {_package(point)} could not be imported ({type(error).__name__}: {error}); mend it or "
            "uninstall it"
        )


@cache
def _points(group: str) -> tuple[EntryPoint, ...]:
    """Return the entry points of a group, those of a package that is installed twice once."""
    return tuple({(point.name, point.value): point for point in entry_points(group=group)}.values())


def _package(point: EntryPoint) -> str:
    return f"package {point.dist.name}" if point.dist else "a package"
