"""Benchmarks. A task is a function of its config that returns a `Task`; adding one is a file and a line here."""

from collections.abc import Callable
from typing import Any

from lofit_cli.errors import UserError, did_you_mean
from lofit_cli.schema import TaskConfig
from lofit_cli.tasks.clutrr import load_clutrr
from lofit_cli.tasks.lettered import load_arc_challenge, load_siqa
from lofit_cli.tasks.misconceptions import load_misconceptions
from lofit_cli.tasks.mquake import load_mquake
from lofit_cli.tasks.svamp import load_svamp
from lofit_cli.tasks.task import Task
from lofit_cli.tasks.truthfulqa import load_truthfulqa

TASKS: dict[str, Callable[[TaskConfig], Task[Any]]] = {
    "arc_challenge": load_arc_challenge,
    "clutrr": load_clutrr,
    "misconceptions": load_misconceptions,
    "mquake": load_mquake,
    "siqa": load_siqa,
    "svamp": load_svamp,
    "truthfulqa": load_truthfulqa,
}

FOLDS = {"truthfulqa": 2}
"""How many folds a task has, where it has more than one."""


def load_task(config: TaskConfig) -> Task[Any]:
    """Load a benchmark by its registered name."""
    if config.name not in TASKS:
        raise UserError(f"task.name={config.name} is not known; {did_you_mean(config.name, TASKS)}")
    folds = FOLDS.get(config.name, 1)
    if not 0 <= config.fold < folds:
        counted = "1 fold" if folds == 1 else f"{folds} folds"
        raise UserError(f"task.fold={config.fold} is not allowed: task '{config.name}' has {counted}, counted from 0")
    return TASKS[config.name](config)
