"""ZeroTuning: one factor on the attention of the selected heads to the first token, chosen on the validation split."""

import math
from typing import Any, cast

import torch
from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.evaluation.entropy import mean_entropy
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.interventions.sink_edit import SinkEdit
from lofit_cli.methods.grid_search import Candidate, keep_best
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.fitted_methods import SinkConfig
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.tasks.task import Task


def make_sink(
    lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, head_mask: Tensor, run: RunDir
) -> Intervention:
    """Return the edit with the gamma that does best on the validation split, or leaves the model least in doubt there.

    Source: ZeroTuning (arXiv 2505.11739); its code reports on the items that it searches on, and we don't.
    """
    settings = cast(SinkConfig, config.method)
    ones = torch.ones(int(head_mask.sum()))
    candidates = {
        Candidate(gamma): SinkEdit(lm.geometry, head_mask, math.log(gamma) * ones) for gamma in settings.alphas
    }
    return keep_best(lm, task, config, candidates, run, mean_entropy if settings.choose_by == "entropy" else None)
