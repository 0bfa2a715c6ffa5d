"""In-context learning: training examples before every prompt."""

import random
from typing import Any, cast

from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.artifacts.seen_items import add_seen
from lofit_cli.errors import UserError
from lofit_cli.interventions.demonstrations import Demonstrations
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.prompts import NOTHING
from lofit_cli.schema.components import IclConfig
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.tasks.task import Task


def make_icl(
    lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, head_mask: Tensor, run: RunDir
) -> Demonstrations:
    """Draw training items by the seed and show each with its right answer.

    Raises:
        UserError: there are fewer.
    """
    count = cast(IclConfig, config.method).num_examples
    shown = list(zip(task.items("train"), task.examples("train"), strict=True))
    if count > len(shown):
        raise UserError(f"method.num_examples={count} is more than the {len(shown)} training items of '{task.name}'")
    drawn = random.Random(config.seed).sample(shown, count)
    add_seen(run.path, (item.fingerprint for item, _ in drawn))
    return Demonstrations(sum((example.prompt.answered(example.answers[0]) for _, example in drawn), NOTHING))
