"""How much each selected head attends to the first token, trained."""

from typing import Any

import torch
from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.interventions.sink_edit import SinkEdit
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.tasks.task import Task
from lofit_cli.training.trainer import train


def make_sink_bias(
    lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, head_mask: Tensor, run: RunDir
) -> SinkEdit:
    """Train a number on each head of the mask that is added to its score of the first token, from no change at all.

    Source: ours, at the place that ZeroTuning (arXiv 2505.11739) edits.
    """
    edit = SinkEdit(lm.geometry, head_mask, torch.zeros(int(head_mask.sum()))).placed(lm)
    train(edit, lm, task, config, run)
    return edit
