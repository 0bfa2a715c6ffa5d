"""Writes docs/reference.md: every command's help, and every option of the config groups, as the program has them.

python scripts/reference.py
"""

import re
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import typer

from lofit_cli.artifacts.files import write_file
from lofit_cli.cli import app
from lofit_cli.hydra_config import conf_dir
from lofit_cli.schema.groups import SCHEMAS
from lofit_cli.schema.stages import STAGE_CONFIGS

FILE = Path(__file__).parents[1] / "docs" / "reference.md"
GROUPS = ("model", "task", "selector", "method", "judge")
SHARED = {"model": "ModelConfig", "task": "TaskConfig", "trainer": "TrainerConfig", "eval": "EvalConfig"}
"""Key of a stage -> the settings that it holds, which stand in a table of their own."""
HEAD = re.compile(r"# (lofit .*?)(?:    (.*))?$")

TOP = """# Reference

Made by `python scripts/reference.py` from the program itself; a test holds that it is up to date. What the settings are
for is in [configuration](configuration.md), and what the methods do in [methods](methods.md).
"""


def reference() -> str:
    """Return the page."""
    groups = (_group(name) for name in GROUPS)
    return "\n".join([TOP, "## Commands\n", *_commands(), "## Settings\n", *_settings(), "## Options\n", *groups])


def _commands() -> Iterator[str]:
    root: Any = typer.main.get_command(app)
    for name, command in root.commands.items():
        stage = STAGE_CONFIGS.get(name.replace("-", "_"))
        keys = [*_table("key", "default", _keys(stage)), ""] if stage else []
        options = [
            f"| `{', '.join(option.opts)}` | {option.help} |" for option in command.params if option.opts[0][0] == "-"
        ]
        told = command.help.replace("\n\n", "\n").strip()
        yield "\n".join([f"### lofit {name}\n", told, "", *keys, "| option | |", "|---|---|"])
        yield "\n".join([*options, ""])


def _keys(kind: type[Any]) -> Iterator[tuple[str, str]]:
    for known in fields(kind):
        if known.name in SHARED:
            yield f"{known.name}.*", "below"
        elif known.name in ("selector", "method"):
            yield f"{known.name}=", "below"
        elif known.name != "name":
            yield known.name, _default(known)


def _default(known: Any) -> str:
    value = known.default_factory() if known.default_factory is not MISSING else known.default
    if value is MISSING or value == "???":
        return "must be set"
    return "" if value is None else f"`{value!r}`" if isinstance(value, str) else f"`{value}`"


def _settings() -> Iterator[str]:
    known = {kind.__name__: kind for stage in STAGE_CONFIGS.values() for kind in _parts(stage)}
    for key, name in SHARED.items():
        yield "\n".join([f"### {key}.*\n", *_table("key", "default", _keys(known[name])), ""])
    for group in ("task", "selector", "method"):
        for name, kind in SCHEMAS[f"schema/{group}"].items():
            own = [row for row in _keys(kind) if group != "task" or row not in list(_keys(known["TaskConfig"]))]
            yield "\n".join([f"### {group}={name}\n", *_table("key", "default", own), ""])


def _parts(stage: type[Any]) -> Iterator[type[Any]]:
    return (known.type for known in fields(stage) if isinstance(known.type, type))


def _group(group: str) -> str:
    rows = ((file.stem, *_head(file)) for file in sorted((conf_dir() / group).glob("*.yaml")))
    lines = [f"| `{name}` | {told} | `{command}` |" for name, command, told in rows]
    return "\n".join([f"### {group}=\n", "| name | | for example |", "|---|---|---|", *lines, ""])


def _head(file: Path) -> tuple[str, str]:
    """Return the command and the words with which a YAML file opens."""
    lines = (line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("# @package"))
    found = HEAD.match(next(lines))
    if not found:
        raise SystemExit(f"{file} does not open with its command")
    return found[1], (found[2] or "").replace("|", r"\|")


def _table(first: str, second: str, rows: Any) -> list[str]:
    lines = [f"| `{name}` | {value} |" for name, value in rows]
    return [f"| {first} | {second} |", "|---|---|", *lines]


if __name__ == "__main__":
    write_file(FILE, lambda path: path.write_text(reference(), encoding="utf-8"))
