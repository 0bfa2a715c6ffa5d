"""CAA and RepE: a direction of the residual stream that tells right answers from wrong ones."""

from itertools import product
from typing import Any, cast

import torch
from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.errors import UserError
from lofit_cli.interventions.contrast_edit import ContrastEdit
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.interventions.residual_edit import DirectionEdit
from lofit_cli.methods.candidates import Candidate, keep_best
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.makers import RepeConfig, ResidualConfig
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.tasks.task import Task
from lofit_cli.training.labelled import answer_differences

MIDDLE_EIGHTHS = range(2, 7)
"""Where steering is usually strongest; CAA and RepE both choose the layer by trying."""


def steer_by_mean(
    lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, head_mask: Tensor, run: RunDir
) -> Intervention:
    """Return CAA's edit: the mean difference of right and wrong answers, added where an answer is predicted.

    Source: CAA (arXiv 2312.06681), section 3.
    """
    settings = cast(ResidualConfig, config.method)
    grid = _grid(settings, lm)
    differences = answer_differences(lm, task, "train", run)
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


def steer_by_reading(
    lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, head_mask: Tensor, run: RunDir
) -> Intervention:
    """Return RepE's edit after one layer: a reading vector at every token, or a contrast vector.

    Source: RepE (arXiv 2310.01405), section 3.2; which vector for which task: LoFiT (arXiv 2406.01563), section 4.
    """
    settings = cast(RepeConfig, config.method)
    grid = _grid(settings, lm)
    candidates: dict[Candidate, Intervention]
    if settings.vector == "contrast":
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


def _grid(settings: ResidualConfig, lm: LanguageModel) -> list[tuple[int, float]]:
    """Return each layer to try with each strength."""
    num_layers = lm.geometry.num_layers
    layers = settings.layers or sorted({num_layers * eighths // 8 for eighths in MIDDLE_EIGHTHS})
    if max(layers) >= num_layers:
        raise UserError(f"method.layers={layers} are not all there; allowed: 0 to {num_layers - 1}")
    return list(product(layers, settings.alphas))
