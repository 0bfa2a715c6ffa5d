"""SADI: the selected heads' own activations multiplied at the prompt's last token."""

from typing import Any, cast

import torch
from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.methods.grid_search import Candidate, keep_best
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.fitted_methods import SadiConfig
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.tasks.task import Task


def make_sadi(
    lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, head_mask: Tensor, run: RunDir
) -> Intervention:
    """Return the edit `z <- delta * z` with the delta that does best on the validation split.

    Source: SADI (arXiv 2410.12299) and its released code, which takes the best of the grid on test data; we don't.
    """
    ones = torch.ones(int(head_mask.sum()), lm.geometry.head_dim)
    candidates = {
        Candidate(delta): HeadEdit(lm.geometry, head_mask, scale=(delta - 1) * ones, positions="prompt_end")
        for delta in cast(SadiConfig, config.method).alphas
    }
    return keep_best(lm, task, config, candidates, run)
