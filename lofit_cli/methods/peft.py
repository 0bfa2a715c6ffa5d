"""LoRA and every other adapter of the peft library that changes modules."""

from typing import Any, cast

from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.interventions.peft_edit import PeftEdit
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.schema.trained_methods import PeftMethodConfig
from lofit_cli.tasks.task import Task
from lofit_cli.training.trainer import train


def make_peft(
    lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, head_mask: Tensor, run: RunDir
) -> PeftEdit:
    """Train the adapter that `method.config` describes, from the library's own start."""
    edit = PeftEdit.initial(lm, cast(PeftMethodConfig, config.method).config)
    train(edit, lm, task, config, run)
    return edit
