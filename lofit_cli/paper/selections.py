"""Head selections of several tasks, folds and seeds, read from run directories or from a file of lists."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lofit_cli.artifacts.files import read_json
from lofit_cli.artifacts.head_mask import FILE_NAME, HeadMask, parse_heads
from lofit_cli.artifacts.run_dir import is_finished, read_manifest
from lofit_cli.errors import UserError, did_you_mean

Head = tuple[int, int]
"""Layer and head."""


@dataclass(frozen=True)
class Selection:
    """The heads selected for a task.

    Attributes:
        fold: the fold of the task, which chance does not depend on.
        heads_per_layer: how many heads each layer of the model has.
    """

    fold: int
    seed: int
    heads: tuple[Head, ...]
    heads_per_layer: tuple[int, ...]


def read_selections(folder: Path, task: str, selector: str = "scale") -> list[Selection]:
    """Return a task's finished selections in the layout of scripts/reproduce, by fold and seed.

    Args:
        folder: holds `TASK-FOLD/seed-SEED/heads-SELECTOR`.

    Raises:
        UserError: there is none.
    """
    runs = sorted(folder.glob(f"{task}-*/seed-*/heads-{selector}"))
    found = [_read_run(run) for run in runs if is_finished(run, "select_heads")]
    if not found:
        raise UserError(f"{folder} has no {task}-FOLD/seed-SEED/heads-{selector}; select the heads first")
    return sorted(found, key=lambda selection: (selection.fold, selection.seed))


def _read_run(run: Path) -> Selection:
    manifest = read_manifest(run, "select_heads", "folder")
    found = HeadMask.read(run / FILE_NAME)
    heads = tuple((layer, head) for layer, head in found.mask.nonzero().tolist())
    return Selection(manifest["fold"], manifest["seed"], heads, found.geometry.heads_per_layer)


def read_author_lists(file: Path, model: str, num_heads: int, tasks: list[str]) -> dict[str, list[Selection]]:
    """Return task -> selection from a JSON object of `MODEL/TASK` -> `[[layer, head], ...]`, best first.

    The model is taken to be the smallest whose layers are alike that has all heads listed for this one.

    Raises:
        UserError: the file has no list of this model and one of the tasks, or a shorter one than that.
    """
    lists: dict[str, Any] = read_json(file)
    if not isinstance(lists, dict):
        raise UserError(f"{file} is not an object of MODEL/TASK -> [[layer, head], ...]; name one")
    mine = {name.partition("/")[2]: heads for name, heads in lists.items() if name.startswith(f"{model}/")}
    if not mine:
        raise UserError(f"{file} has no model {model}; {did_you_mean(model, _models(lists))}")
    if missing := [task for task in tasks if task not in mine]:
        raise UserError(f"{file} has no {model}/{missing[0]}; {did_you_mean(missing[0], list(mine))}")
    heads = {task: _author_heads(entries, f"{file}, {model}/{task},") for task, entries in mine.items()}
    if short := [task for task in tasks if len(heads[task]) < num_heads]:
        raise UserError(f"{file} lists fewer than {num_heads} heads for {model}/{short[0]}; take fewer")
    num_layers, per_layer = (1 + max(head[axis] for listed in heads.values() for head in listed) for axis in (0, 1))
    return {task: [Selection(0, 0, heads[task][:num_heads], (per_layer,) * num_layers)] for task in tasks}


def _author_heads(entries: Any, what: str) -> tuple[Head, ...]:
    return tuple((layer, head) for layer, head, _ in parse_heads(entries, what))


def _models(lists: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(name.partition("/")[0] for name in lists if "/" in name))
