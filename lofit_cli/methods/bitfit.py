"""BitFit: the biases alone are trained."""

from typing import Any

from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.interventions.bias_edit import BiasEdit
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.tasks.task import Task
from lofit_cli.training.trainer import train


def make_bitfit(
    lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, head_mask: Tensor, run: RunDir
) -> BiasEdit:
    """Train every bias from where it is."""
    edit = BiasEdit.zero(lm)
    train(edit, lm, task, config, run)
    return edit
