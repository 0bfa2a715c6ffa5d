"""Training items on which a tuned model and the model as it is disagree, from two evaluations of the training split."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lofit_cli.artifacts.evaluations import SAME_MEASUREMENT, MeasuredRun, read_evaluation
from lofit_cli.artifacts.predictions import right_above
from lofit_cli.errors import UserError
from lofit_cli.evaluation.measure import describe_protocol
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.models.weights import describe_model
from lofit_cli.schema.fitted_methods import CaaConfig
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.tasks.task import Task

SPLIT = "train"
MIN_ITEMS = 20
"""Of fewer items a mean difference is noise."""
HASHES = {"model_hash": "weights", "questions_hash": "questions"}
"""Facts of an evaluation that nobody can read -> what they tell apart."""


def learnt_items(settings: CaaConfig, lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig) -> Tensor:
    """Return (num_items,) bool: the training items that the base model gets wrong and the tuned one right.

    Raises:
        UserError: an evaluation is of other questions, another model or another protocol, its metric calls no item
            right, or there are too few such items.

    Source: REFLEX (arXiv 2511.20233), whose second quadrant these are.
    """
    facts, border = measurement_of(lm, task, config), border_of(task)
    before, after = (
        _is_right(read_evaluation(Path(str(folder))), f"method.{key}={folder}", facts, task.metrics[0], border)
        for key, folder in (("before", settings.before), ("after", settings.after))
    )
    found = torch.tensor([after[item.id] and not before[item.id] for item in task.items(SPLIT)])
    if int(found.sum()) < MIN_ITEMS:
        raise UserError(
            f"method.items=disagreement finds {int(found.sum())} items that method.after={settings.after} gets right "
            f"and method.before={settings.before} does not, and needs {MIN_ITEMS}; use method.items=all"
        )
    return found


def border_of(task: Task[Any]) -> float:
    """Return the value of the task's headline metric above which an item is right.

    Raises:
        UserError: there is none.
    """
    border = right_above(task.metrics[0])
    if border is None:
        raise UserError(
            f"method.items=disagreement keeps items that are right, and '{task.metrics[0]}' of task '{task.name}' "
            "calls none right or wrong; use method.items=all"
        )
    return border


def measurement_of(lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig) -> dict[str, Any]:
    """Return what the manifest states of an evaluation of these training items with this model."""
    protocol = describe_protocol(lm, task, config.eval.protocol, SPLIT)
    measured = {"split": SPLIT, "protocol": protocol, "num_test": None, "questions_hash": task.questions_hash(SPLIT)}
    return {**describe_model(lm), "task": task.name, **measured}


def _is_right(run: MeasuredRun, named: str, facts: Mapping[str, Any], metric: str, border: float) -> dict[str, bool]:
    """Return, of each training item, whether a run's headline metric calls it right."""
    # What a person can read is told first.
    for fact in sorted(SAME_MEASUREMENT, key=HASHES.__contains__):
        there, here = getattr(run.manifest, fact), facts[fact]
        if there != here:
            differs = f"other {HASHES[fact]}" if fact in HASHES else f"{fact} {there}, not {here}"
            raise UserError(
                f"{named} has {differs}; evaluate with eval.split={SPLIT} and the model, task and eval settings of "
                "this run"
            )
    return dict(zip(run.question_ids, (run.values[metric] > border).tolist(), strict=True))
