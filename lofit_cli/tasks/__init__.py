"""Benchmarks. A task is a function of its config that returns a `Task`; adding one is a file and a line here."""

from collections.abc import Callable

from lofit_cli.errors import UserError, did_you_mean
from lofit_cli.schema import TaskConfig
from lofit_cli.tasks.misconceptions import load_misconceptions
from lofit_cli.tasks.multiple_choice import MultipleChoiceTask
from lofit_cli.tasks.truthfulqa import load_truthfulqa

TASKS: dict[str, Callable[[TaskConfig], MultipleChoiceTask]] = {
    "misconceptions": load_misconceptions,
    "truthfulqa": load_truthfulqa,
}


def load_task(config: TaskConfig) -> MultipleChoiceTask:
    """Load a benchmark by its registered name."""
    if config.name not in TASKS:
        raise UserError(f"task.name={config.name} is not known; {did_you_mean(config.name, TASKS)}")
    return TASKS[config.name](config)
