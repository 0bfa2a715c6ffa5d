"""BiPO: one vector after one layer, which makes right answers likelier when added and less likely when taken away."""

from typing import Any, cast

import torch
from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.errors import UserError
from lofit_cli.interventions.residual_edit import DirectionEdit, NulledDirection, SignedDirection
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.schema.trained_methods import BipoConfig
from lofit_cli.tasks.task import Task
from lofit_cli.training.trainer import train


def make_bipo(
    lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, head_mask: Tensor, run: RunDir
) -> DirectionEdit:
    """Train a vector that is added after a layer, or taken away there, as each step draws.

    Raises:
        UserError: the task has no wrong answers to learn from, or the model not this layer.

    Source: BiPO (arXiv 2406.00045), equation 3; the layer by default is where its authors put it in Llama 2 7B. RePS:
        arXiv 2505.20809.
    """
    if task.objective != "dpo":
        raise UserError(
            f"method=bipo learns from pairs of right and wrong answers, and task '{task.name}' has right ones only; "
            "choose another task, or method=lofit"
        )
    settings, num_layers = cast(BipoConfig, config.method), lm.geometry.num_layers
    layer = num_layers * 15 // 32 if settings.layer is None else settings.layer
    if layer >= num_layers:
        raise UserError(f"method.layer={layer} is not there; allowed: 0 to {num_layers - 1}")
    edit = _start(settings.loss, lm, layer, config).placed(lm)
    train(edit, lm, task, config, run)
    run.record(layer=layer)
    return edit


def _start(loss: str, lm: LanguageModel, layer: int, config: TrainOffsetsConfig) -> SignedDirection:
    """Return the vector before its first step: none, or for RePS, which takes it out of states, a short one."""
    zeros = torch.zeros(lm.hidden_size)
    if loss == "bipo":
        return SignedDirection(zeros, layer, "all")
    generator = torch.Generator().manual_seed(config.seed)
    return NulledDirection(zeros.normal_(std=config.trainer.init_std, generator=generator), layer, "all")
