"""Heads ranked by how likely JoLA's gate of their offset is to be open."""

from typing import Any

import torch
from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.interventions.gated_head_edit import GatedHeadEdit
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.stages import SelectHeadsConfig
from lofit_cli.tasks.task import Task
from lofit_cli.training.trainer import train


def score_heads_by_gates(lm: LanguageModel, task: Task[Any], config: SelectHeadsConfig, run: RunDir) -> Tensor:
    """Train a scale and an offset behind gates on all heads, and return each head's score: (num_layers, max_heads).

    Source: JoLA (arXiv 2502.01179), whose gates choose the heads; to keep a number of them is ours.
    """
    every_head, edit = lm.geometry.every_head(), gate_every_head(lm, config)
    run.record(num_trained_parameters=edit.num_parameters)
    train(edit, lm, task, config, run)
    scores = torch.zeros(every_head.shape)
    scores[every_head] = edit.open_probability()[1].detach().cpu()
    return scores


def gate_every_head(lm: LanguageModel, config: SelectHeadsConfig) -> GatedHeadEdit:
    """Return a scale and an offset of every head behind gates, small random numbers by the seed."""
    every_head = lm.geometry.every_head()
    return GatedHeadEdit.begin(lm.geometry, every_head, config.trainer.init_std, config.seed, 1.0).placed(lm)
