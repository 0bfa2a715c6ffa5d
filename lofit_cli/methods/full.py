"""Full fine-tuning: every weight is trained."""

from typing import Any

import torch
from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.errors import UserError
from lofit_cli.interventions.weights_edit import WeightsEdit
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.models.quantization import is_quantised
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.tasks.task import Task
from lofit_cli.training.trainer import train


def make_full(
    lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, head_mask: Tensor, run: RunDir
) -> WeightsEdit:
    """Train a copy of every weight.

    Raises:
        UserError: the model is in half precision, where a small step rounds to none, or its weights are not to be had.
    """
    if is_quantised(lm.model):
        raise UserError(
            "method=full trains the weights themselves, and those of a quantised model stay as they are; set "
            "model.quantization=none with a model that is not quantised, or choose another method, such as lora"
        )
    if lm.model.dtype != torch.float32:
        raise UserError(f"model.dtype={config.model.dtype} is too coarse for method=full; set model.dtype=float32")
    edit = WeightsEdit.copy_of(lm)
    train(edit, lm, task, config, run)
    return edit
