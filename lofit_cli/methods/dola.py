"""DoLa: what the last layer knows and early layers do not; nothing is learnt."""

from typing import Any, cast

from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.errors import UserError
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.interventions.layer_contrast import LayerContrast
from lofit_cli.methods.grid_search import Candidate, keep_best
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.fitted_methods import DolaConfig
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.tasks.task import Task


def make_dola(
    lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, head_mask: Tensor, run: RunDir
) -> Intervention:
    """Return the contrast with those early layers that do best on the validation split.

    Raises:
        UserError: the model has no such layer.

    Source: DoLa (arXiv 2309.03883): halves of the even layers, tokens below a tenth of the likeliest one left out in
        generation, none in multiple choice. Their repetition penalty of 1.2 in generation is left out.
    """
    settings = cast(DolaConfig, config.method)
    num_layers = lm.geometry.num_layers
    halves = [layers for half in settings.halves if (layers := layers_of_half(half, num_layers))]
    choices = halves if settings.contrast == "dynamic" else [[layer] for layers in halves for layer in layers]
    if not choices:
        raise UserError(f"method.halves={settings.halves} has no even layer in a model of {num_layers}; add lower")
    candidates = {
        Candidate(layer=layers[0]): LayerContrast(layers, settings.divergence, settings.relative_top)
        for layers in choices
    }
    return keep_best(lm, task, config, candidates, run)


def layers_of_half(half: str, num_layers: int) -> list[int]:
    """Return the even layers of the `lower` or the `upper` half."""
    return [layer for layer in range(0, num_layers, 2) if (2 * layer < num_layers) == (half == "lower")]
