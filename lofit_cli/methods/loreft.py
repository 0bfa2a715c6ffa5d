"""LoReFT: a low-rank edit after every layer, at the first and last tokens of the prompt."""

from typing import Any, cast

from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.interventions.residual_edit import LowRankEdit
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.schema.trained_methods import LoreftConfig
from lofit_cli.tasks.task import Task
from lofit_cli.training.trainer import train


def make_loreft(
    lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, head_mask: Tensor, run: RunDir
) -> LowRankEdit:
    """Train the edit from a random rotation."""
    settings = cast(LoreftConfig, config.method)
    sizes = settings.rank, settings.num_first, settings.num_last
    edit = LowRankEdit(lm.geometry.num_layers, lm.hidden_size, *sizes).to(lm.device)
    train(edit, lm, task, config, run)
    return edit
