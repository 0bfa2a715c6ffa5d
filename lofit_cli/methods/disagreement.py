"""Training items on which a tuned model and the model as it is disagree, from two evaluations of the training split."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lofit_cli.artifacts.evaluations import MeasuredRun, read_evaluation
from lofit_cli.errors import UserError
from lofit_cli.schema.fitted_methods import CaaConfig
from lofit_cli.tasks.task import Task

MIN_ITEMS = 20
"""Of fewer items a mean difference is noise."""


def learnt_items(settings: CaaConfig, task: Task[Any]) -> Tensor:
    """Return (num_items,) bool: the training items that the base model gets wrong and the tuned one right.

    Raises:
        UserError: an evaluation is of another split or task, or there are too few such items.

    Source: REFLEX (arXiv 2511.20233), whose second quadrant these are.
    """
    before, after = (
        _is_right(read_evaluation(Path(str(folder))), f"method.{key}={folder}", task)
        for key, folder in (("before", settings.before), ("after", settings.after))
    )
    found = torch.tensor([after[item.id] and not before[item.id] for item in task.items("train")])
    if int(found.sum()) < MIN_ITEMS:
        raise UserError(
            f"method.items=disagreement finds {int(found.sum())} items that method.after={settings.after} gets right "
            f"and method.before={settings.before} does not, and needs {MIN_ITEMS}; use method.items=all"
        )
    return found


def _is_right(run: MeasuredRun, named: str, task: Task[Any]) -> dict[str, bool]:
    """Return, of each training item, whether a run's headline metric calls it right."""
    headline = run.values[run.manifest.metrics[0]]
    known = dict(zip(run.question_ids, (headline > 0.5).tolist(), strict=True))
    if run.manifest.split != "train" or not {item.id for item in task.items("train")} <= known.keys():
        raise UserError(
            f"{named} has not measured the training items of task '{task.name}'; evaluate with eval.split=train and "
            "the same task settings"
        )
    return known
