"""Heads ranked by the length of the offset that each learns when all learn one."""

from typing import Any

from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.stages import SelectHeadsConfig
from lofit_cli.selectors.all_heads import edit_every_head, learnt_values, score_heads
from lofit_cli.tasks.task import Task
from lofit_cli.training.trainer import train


def score_heads_by_offset_norm(lm: LanguageModel, task: Task[Any], config: SelectHeadsConfig, run: RunDir) -> Tensor:
    """Train an offset on all heads and return each head's score: (num_layers, max_heads).

    Source: LoFiT (arXiv 2406.01563), section 5.2, "bias-based selection".
    """
    edit = edit_every_head("offset", lm, config)
    run.record(num_trained_parameters=edit.num_parameters)
    train(edit, lm, task, config, run)
    return score_heads(learnt_values(edit))
