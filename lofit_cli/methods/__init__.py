"""Ways to make an intervention. A method is a function that makes one; adding one is a file and a line here."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.errors import UserError, did_you_mean
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.methods.adapter import train_adapter
from lofit_cli.methods.bitfit import train_bitfit
from lofit_cli.methods.directions import steer_by_mean, steer_by_reading
from lofit_cli.methods.full import train_full
from lofit_cli.methods.icl import demonstrate
from lofit_cli.methods.iti import intervene
from lofit_cli.methods.lofit import train_lofit
from lofit_cli.methods.loreft import train_loreft
from lofit_cli.methods.random_offset import turn_at_random
from lofit_cli.methods.red import train_red
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.makers import METHOD_CONFIGS, MethodConfig
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.tasks.task import Task


class Method(NamedTuple):
    """A way to make an intervention.

    Attributes:
        make: takes a head mask (num_layers, num_heads), which keeps every head where the method takes none.
        takes_heads: whether it works on the heads of a selection.
    """

    make: Callable[[LanguageModel, Task[Any], TrainOffsetsConfig, Tensor, RunDir], Intervention]
    takes_heads: bool = False


METHODS: dict[str, Method] = {
    "bitfit": Method(train_bitfit),
    "caa": Method(steer_by_mean),
    "full": Method(train_full),
    "icl": Method(demonstrate),
    "iti": Method(intervene, takes_heads=True),
    "lofit": Method(train_lofit, takes_heads=True),
    "lora": Method(train_adapter),
    "loreft": Method(train_loreft),
    "peft": Method(train_adapter),
    "random_offset": Method(turn_at_random),
    "red": Method(train_red),
    "repe": Method(steer_by_reading),
}


def get_method(config: MethodConfig) -> Method:
    """Return the method that a config names, refusing a name that the config's settings are not for."""
    if config.name not in METHODS:
        raise UserError(f"method.name={config.name} is not known; {did_you_mean(config.name, METHODS)}")
    if not isinstance(config, METHOD_CONFIGS.get(config.name, MethodConfig)):
        raise UserError(f"method.name={config.name} has settings of its own; write method={config.name} instead")
    return METHODS[config.name]
