"""RED on attention heads: a scale and an offset on every head, trained together."""

from typing import Any, cast

import torch
from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.schema.trained_methods import RedConfig
from lofit_cli.tasks.task import Task
from lofit_cli.training.trainer import train


def make_red(
    lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, head_mask: Tensor, run: RunDir
) -> HeadEdit:
    """Train a scale and an offset on all heads, or on those of the upper half of the layers, from no change at all.

    Source: RED (arXiv 2402.15179), section 3, at the heads as LoFiT (arXiv 2406.01563, appendix D) replicates it.
    """
    if cast(RedConfig, config.method).layers == "upper_half":
        head_mask = head_mask.clone()
        head_mask[: lm.geometry.num_layers // 2] = False
    shape = int(head_mask.sum()), lm.geometry.head_dim
    edit = HeadEdit(lm.geometry, head_mask, torch.zeros(shape), torch.zeros(shape)).to(lm.device)
    train(edit, lm, task, config, run)
    return edit
