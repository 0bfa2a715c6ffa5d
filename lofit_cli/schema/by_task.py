"""`${by_task:{truthfulqa:5e-3,other:1e-3}}` in a YAML file: the value for the task at hand."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lofit_cli.errors import UserError

OTHER = "other"
"""The entry for every task that has none of its own."""


def register_by_task() -> None:
    """Make the resolver known to OmegaConf."""
    OmegaConf.register_new_resolver("by_task", _by_task, replace=True)


def _by_task(values: Mapping[str, Any], *, _root_: DictConfig) -> Any:
    """Return the value of the config's own task.

    Raises:
        UserError: there is none, nor one for all others.
    """
    task = OmegaConf.select(_root_, "task.name")
    if task in values or OTHER in values:
        return values[task] if task in values else values[OTHER]
    raise UserError(
        f"task={task} has no settings in this experiment; it has {', '.join(map(str, values))}: set task= to one of "
        "these, or leave experiment= out and give the settings themselves"
    )
