"""LoFiT's second step: one offset vector for each selected head, trained on the model without any scale."""

from typing import Any

import torch
from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.tasks.task import Task
from lofit_cli.training.trainer import train


def make_lofit(
    lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, head_mask: Tensor, run: RunDir
) -> HeadEdit:
    """Train an offset on each head of the mask."""
    edit = start_offsets(lm, head_mask, config)
    train(edit, lm, task, config, run)
    return edit


def start_offsets(lm: LanguageModel, head_mask: Tensor, config: TrainOffsetsConfig) -> HeadEdit:
    """Return an offset on each head of a mask, small random numbers by the seed."""
    generator = torch.Generator().manual_seed(config.seed)
    start = config.trainer.init_std * torch.randn(int(head_mask.sum()), lm.geometry.head_dim, generator=generator)
    return HeadEdit(lm.geometry, head_mask, offset=start).to(lm.device)
