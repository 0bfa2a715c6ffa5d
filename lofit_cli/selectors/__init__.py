"""Ways to score heads. A selector is a function that scores every head; adding one is a file and a line here."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.errors import UserError, did_you_mean
from lofit_cli.models.logprobs import LanguageModel
from lofit_cli.schema import SelectHeadsConfig
from lofit_cli.selectors.offset_norm import score_heads_by_offset_norm
from lofit_cli.selectors.probe import score_heads_by_layer_probe, score_heads_by_probe
from lofit_cli.selectors.random import score_heads_at_random
from lofit_cli.selectors.scale import score_heads_by_scale
from lofit_cli.tasks.task import Task

Selector = Callable[[LanguageModel, Task[Any], SelectHeadsConfig, RunDir], Tensor]
"""Returns head scores (num_layers, num_heads) float32 on the CPU, higher is better."""

SELECTORS: dict[str, Selector] = {
    "offset_norm": score_heads_by_offset_norm,
    "probe": score_heads_by_probe,
    "probe_layers": score_heads_by_layer_probe,
    "random": score_heads_at_random,
    "scale": score_heads_by_scale,
}


def get_selector(name: str) -> Selector:
    """Return a selector by its registered name."""
    if name not in SELECTORS:
        raise UserError(f"selector.name={name} is not known; {did_you_mean(name, SELECTORS)}")
    return SELECTORS[name]
