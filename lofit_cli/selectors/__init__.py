"""Ways to score heads. A selector is a function that scores every head; adding one is a file and a line here."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.errors import UserError
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.plugins import look_up
from lofit_cli.schema.components import SELECTOR_CONFIGS, SelectorConfig
from lofit_cli.schema.stages import SelectHeadsConfig
from lofit_cli.selectors.file import copy_from_file
from lofit_cli.selectors.from_run import copy_from_run
from lofit_cli.selectors.gates import score_heads_by_gates
from lofit_cli.selectors.mean_difference import score_heads_by_mean_difference
from lofit_cli.selectors.offset_norm import score_heads_by_offset_norm
from lofit_cli.selectors.probe import score_heads_by_probe
from lofit_cli.selectors.probe_layers import score_heads_by_layer_probe
from lofit_cli.selectors.random import score_heads_at_random
from lofit_cli.selectors.scale import score_heads_by_scale
from lofit_cli.selectors.sink import score_heads_by_sink
from lofit_cli.tasks.task import Task

Selector = Callable[[LanguageModel, Task[Any], SelectHeadsConfig, RunDir], Tensor]
"""Returns head scores (num_layers, max_heads) float32 on the CPU, higher is better, anything where there is no head."""

SELECTORS: dict[str, Selector] = {
    "file": copy_from_file,
    "from_run": copy_from_run,
    "gates": score_heads_by_gates,
    "mean_difference": score_heads_by_mean_difference,
    "offset_norm": score_heads_by_offset_norm,
    "probe": score_heads_by_probe,
    "probe_layers": score_heads_by_layer_probe,
    "random": score_heads_at_random,
    "scale": score_heads_by_scale,
    "sink": score_heads_by_sink,
}


WITHOUT_LOSS = ("file", "from_run", "mean_difference", "probe", "probe_layers", "random")
"""Those that look at no loss, so that what weighs it changes nothing."""


def get_selector(config: SelectorConfig) -> Selector:
    """Return the selector that a config names, refusing a name that the config's settings are not for."""
    selector = look_up("selectors", config.name, SELECTORS, "selector.name")
    if not isinstance(config, SELECTOR_CONFIGS.get(config.name, SelectorConfig)):
        raise UserError(f"selector.name={config.name} has settings of its own; write selector={config.name} instead")
    return selector
