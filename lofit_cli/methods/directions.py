"""CAA and RepE: a direction of the residual stream that tells right answers from wrong ones."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.errors import UserError
from lofit_cli.interventions.contrast_edit import ContrastEdit
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.interventions.residual_edit import DirectionEdit
from lofit_cli.methods.candidates import keep_best
from lofit_cli.models.logprobs import LanguageModel
from lofit_cli.schema import RepeConfig, ResidualConfig, TrainOffsetsConfig
from lofit_cli.tasks.task import Task
from lofit_cli.training.labelled import answer_differences


def steer_by_mean(
    lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, head_mask: Tensor, run: RunDir
) -> Intervention:
    """Return CAA's edit: the mean difference of right and wrong answers, added where an answer is predicted.

    Source: CAA (arXiv 2312.06681), section 3.
    """
    settings = cast(ResidualConfig, config.method)
    vector, layer = _find_direction(lm, task, settings, run, lambda differences: differences.mean(dim=0))
    candidates = {alpha: DirectionEdit(alpha * vector, layer, "answer") for alpha in settings.alphas}
    return keep_best(lm, task, config, candidates, run)


def steer_by_reading(
    lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, head_mask: Tensor, run: RunDir
) -> Intervention:
    """Return RepE's edit: a reading vector at every token, or a contrast vector, after one layer.

    Source: RepE (arXiv 2310.01405), section 3.2; which vector for which task: LoFiT (arXiv 2406.01563), section 4.
    """
    settings = cast(RepeConfig, config.method)
    vector, layer = _find_direction(lm, task, settings, run, principal_direction)
    candidates: dict[float, Intervention] = {
        alpha: DirectionEdit(alpha * vector, layer, "all")
        if settings.vector == "reading"
        else ContrastEdit(settings.positive, settings.negative, alpha, layer)
        for alpha in settings.alphas
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


def _find_direction(
    lm: LanguageModel,
    task: Task[Any],
    settings: ResidualConfig,
    run: RunDir,
    direct: Callable[[Tensor], Tensor],
) -> tuple[Tensor, int]:
    """Return the direction of the asked-for layer, or of the one that tells most validation items right from wrong."""
    if settings.layer is not None and settings.layer >= lm.geometry.num_layers:
        raise UserError(f"method.layer={settings.layer} is not there; allowed: 0 to {lm.geometry.num_layers - 1}")
    train = answer_differences(lm, task, "train", run)
    vectors = torch.stack([direct(train[:, layer]) for layer in range(lm.geometry.num_layers)])
    layer = settings.layer
    if layer is None:
        held_out = answer_differences(lm, task, "validation", run)
        accuracy = ((held_out * vectors).sum(dim=-1) > 0).float().mean(dim=0)
        layer = int(accuracy.argmax())
        run.record(layer_accuracy=[round(value, 4) for value in accuracy.tolist()])
    run.record(layer=layer)
    return vectors[layer], layer
