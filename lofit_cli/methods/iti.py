"""ITI: heads are moved towards the activations of right answers, by a few of their own standard deviations."""

from typing import Any, cast

import torch
from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.evaluation.contrastive import head_step, labelled_activations
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.methods.grid_search import Candidate, keep_best
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.fitted_methods import ItiConfig
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.tasks.task import Task


def make_iti(
    lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, head_mask: Tensor, run: RunDir
) -> Intervention:
    """Return the edit `z <- z + alpha * sigma * theta` of each selected head, at the tokens that predict an answer.

    Everything is found on training answers: theta is the direction, sigma the standard deviation of the activations
    along it. Of several alphas the best on the validation split is kept.

    Source: ITI (arXiv 2306.03341), sections 3.2 and 4.
    """
    settings = cast(ItiConfig, config.method)
    activations, is_right = labelled_activations(lm, task, "train", run)
    steps = torch.stack(
        [head_step(activations[:, layer, head], is_right, settings.direction) for layer, head in head_mask.nonzero()]
    )
    candidates = {
        Candidate(alpha): HeadEdit(lm.geometry, head_mask, offset=alpha * steps, positions="answer")
        for alpha in settings.alphas
    }
    return keep_best(lm, task, config, candidates, run)
