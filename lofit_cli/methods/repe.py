"""RepE: a direction of the residual stream that tells right answers from wrong ones, read or set against another."""

from typing import Any, cast

import torch
from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.evaluation.contrastive import answer_differences
from lofit_cli.interventions.contrast_edit import ContrastEdit, refuse_chat
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.interventions.residual_edit import DirectionEdit
from lofit_cli.methods.grid_search import Candidate, keep_best, layers_and_alphas
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.fitted_methods import RepeConfig
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.tasks.task import Task


def make_repe(
    lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, head_mask: Tensor, run: RunDir
) -> Intervention:
    """Return RepE's edit after one layer: a reading vector at every token, or a contrast vector.

    The reading vector is that of a question's right and wrong answers, where the authors also read honest and dishonest
    instructions.

    Source: RepE (arXiv 2310.01405), section 3.2; which vector for which task: LoFiT (arXiv 2406.01563), section 4.
    """
    settings = cast(RepeConfig, config.method)
    grid = layers_and_alphas(settings, lm)
    candidates: dict[Candidate, Intervention]
    if settings.vector == "contrast":
        refuse_chat(lm)
        texts = settings.positive, settings.negative
        candidates = {Candidate(alpha, layer): ContrastEdit(*texts, alpha, layer) for layer, alpha in grid}
    else:
        differences = answer_differences(lm, task, "train", run)
        candidates = {
            Candidate(alpha, layer): DirectionEdit(alpha * principal_direction(differences[:, layer]), layer, "all")
            for layer, alpha in grid
        }
    return keep_best(lm, task, config, candidates, run)


def principal_direction(differences: Tensor) -> Tensor:
    """Return the unit vector along which pairs differ most, pointing from wrong to right: (hidden,).

    RepE centres differences whose order within a pair it has shuffled; in one order, not to centre them is the same.

    Args:
        differences: (num_items, hidden), right minus wrong.
    """
    direction: Tensor = torch.linalg.svd(differences, full_matrices=False).Vh[0]
    return direction if float((differences @ direction).mean()) >= 0 else -direction
