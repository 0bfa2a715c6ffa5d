"""Ways to make an intervention. A method is a function that trains one; adding one is a file and a line here."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.errors import UserError, did_you_mean
from lofit_cli.methods.lofit import train_lofit
from lofit_cli.models.logprobs import LanguageModel
from lofit_cli.schema import TrainOffsetsConfig
from lofit_cli.tasks.task import Task

Method = Callable[[LanguageModel, Task[Any], TrainOffsetsConfig, Tensor, RunDir], Tensor]
"""Takes a head mask (num_layers, num_heads); returns offsets (num_layers, num_heads, head_dim), 0 outside it."""

METHODS: dict[str, Method] = {
    "lofit": train_lofit,
}


def get_method(name: str) -> Method:
    """Return a method by its registered name."""
    if name not in METHODS:
        raise UserError(f"method.name={name} is not known; {did_you_mean(name, METHODS)}")
    return METHODS[name]
