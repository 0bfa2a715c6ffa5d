"""JoLA: which heads are edited, how, and with which numbers, all learnt at once."""

from typing import Any, cast

from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.errors import RunError
from lofit_cli.interventions.gated_head_edit import GatedHeadEdit
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.schema.trained_methods import JolaConfig
from lofit_cli.tasks.task import Task
from lofit_cli.training.trainer import train


def make_jola(
    lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, head_mask: Tensor, run: RunDir
) -> HeadEdit:
    """Train a scale and an offset of every head behind gates, and return what the gates let through.

    Raises:
        RunError: they let nothing through.

    Source: JoLA (arXiv 2502.01179).
    """
    strength = cast(JolaConfig, config.method).strength
    start = GatedHeadEdit.begin(lm.geometry, head_mask, config.trainer.init_std, config.seed, strength)
    edit = start.placed(lm)
    train(edit, lm, task, config, run)
    if not edit.gates().any():
        raise RunError(f"method.strength={strength:g} has shut the gates of all heads; lower it")
    return edit.folded()
