"""LoFiT's second step: one offset vector for each selected head, trained on the model without any scale."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lofit_cli.artifacts.draws import draw_folder
from lofit_cli.artifacts.head_mask import HeadMask
from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.errors import UserError
from lofit_cli.interventions.files import load_intervention_file
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.processes import is_leader
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.sharing import led
from lofit_cli.tasks.task import Task
from lofit_cli.training.side_by_side import num_together, train_side_by_side
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


def train_draws(
    draws: Sequence[HeadMask], lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, run: RunDir
) -> None:
    """Train an offset on each head of each draw, as `make_lofit` does for the selected heads, and write them.

    Those that the run has already, where it goes on from where it was cut off, are not trained again.
    """
    size = num_together(lm, task, config.trainer.batch_size) if draws else 1
    for first in range(0, len(draws), size):
        numbers = range(first, min(first + size, len(draws)))
        if led(partial(_are_there, run, numbers, lm)):
            continue
        edits = [start_offsets(lm, draws[number].mask, config) for number in numbers]
        title = f"draws {numbers[0] + 1} to {numbers[-1] + 1} of {len(draws)}"
        train_side_by_side(edits, lm, task, config, title)
        for number, edit in zip(numbers, edits, strict=True):
            _save(edit, draws[number], run, number, lm)


def _are_there(run: RunDir, numbers: Sequence[int], lm: LanguageModel) -> bool:
    try:
        return run.continues and all(load_intervention_file(draw_folder(run.path, n), lm) for n in numbers)
    except UserError:
        return False


def _save(edit: HeadEdit, heads: HeadMask, run: RunDir, number: int, lm: LanguageModel) -> None:
    if not is_leader():
        return
    folder = draw_folder(run.path, number)
    folder.mkdir(parents=True, exist_ok=True)
    heads.save(folder)
    edit.save(folder, lm)
