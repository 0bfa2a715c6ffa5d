"""CAA: the mean difference of right and wrong answers, added to the residual stream after one layer."""

from typing import Any, cast

from torch import Tensor

from lofit_cli.artifacts.files import content_hash
from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.evaluation.contrastive import answer_differences
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.interventions.residual_edit import DirectionEdit
from lofit_cli.methods.disagreement import learnt_items
from lofit_cli.methods.grid_search import Candidate, keep_best, layers_and_alphas
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.fitted_methods import CaaConfig
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.tasks.task import Task


def make_caa(
    lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, head_mask: Tensor, run: RunDir
) -> Intervention:
    """Return CAA's edit: the mean difference of right and wrong answers, added where an answer is predicted.

    Source: CAA (arXiv 2312.06681), section 3.
    """
    settings = cast(CaaConfig, config.method)
    grid = layers_and_alphas(settings, lm)
    # What can't be used is refused before anything is computed.
    kept = learnt_items(settings, lm, task, config) if settings.items == "disagreement" else None
    differences = answer_differences(lm, task, "train", run)
    if kept is not None:
        run.record_settings(method={"kept_items": content_hash(kept.tolist())[:12]})
        differences = differences[kept]
    return keep_best(
        lm,
        task,
        config,
        {
            Candidate(alpha, layer): DirectionEdit(alpha * differences[:, layer].mean(dim=0), layer, "answer")
            for layer, alpha in grid
        },
        run,
    )
