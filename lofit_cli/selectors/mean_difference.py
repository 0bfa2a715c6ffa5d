"""Heads ranked by how their activations differ between right and wrong answers, on the mean."""

from typing import Any, cast

import torch
from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.evaluation.contrastive import head_differences
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.components import MeanDifferenceConfig
from lofit_cli.schema.stages import SelectHeadsConfig
from lofit_cli.tasks.task import Task


def score_heads_by_mean_difference(
    lm: LanguageModel, task: Task[Any], config: SelectHeadsConfig, run: RunDir
) -> Tensor:
    """Return each head's score, (num_layers, max_heads): what right answers' activations have more, or how much apart.

    Source: SADI (arXiv 2410.12299) and its released code, which takes the mean over a head's numbers; that depends on
        their basis, and the norm does not.
    """
    differences = head_differences(lm, task, "train", run).mean(dim=0)
    scores, every_head = torch.zeros(differences.shape[:2]), lm.geometry.every_head()
    if cast(MeanDifferenceConfig, config.selector).rank == "norm":
        scores[every_head] = differences[every_head].norm(dim=-1)
    else:
        scores[every_head] = differences[every_head].sum(dim=-1) / lm.geometry.own_numbers(every_head).sum(dim=-1)
    return scores
