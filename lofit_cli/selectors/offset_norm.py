"""Heads ranked by the length of the offset that each learns when all learn one."""

from typing import Any

from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.stages import SelectHeadsConfig
from lofit_cli.selectors.all_heads import score_heads, train_all_heads
from lofit_cli.tasks.task import Task


def score_heads_by_offset_norm(lm: LanguageModel, task: Task[Any], config: SelectHeadsConfig, run: RunDir) -> Tensor:
    """Train an offset on all heads and return each head's score: (num_layers, max_heads).

    Source: LoFiT (arXiv 2406.01563), section 5.2, "bias-based selection".
    """
    return score_heads(train_all_heads("offset", lm, task, config, run))
