"""What a checkpoint must hold before training goes on from it; one that holds anything else is passed over."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lofit_cli.errors import UserError

MOMENTS = ("exp_avg", "exp_avg_sq")
"""What AdamW keeps of each parameter, in its shape, beside the number of its steps."""


def require_fit(
    tensors: Mapping[str, Tensor], about: Mapping[str, Any], begun: Mapping[str, Tensor], schedule: Mapping[str, Any]
) -> None:
    """Refuse a checkpoint of other parameters, of another optimizer, or of a place where no training can stand.

    Args:
        tensors: the checkpoint's.
        about: its metadata: the `position` and the `schedule`.
        begun: what a checkpoint of this training holds before its first step.
        schedule: the state of its schedule then.

    Raises:
        UserError: it is one.
    """
    if not _is_position(about.get("position")) or not _is_schedule(about, schedule):
        raise UserError("it states no place in this training")
    likeness = _likeness(tensors, begun)
    if tensors.keys() != likeness.keys():
        raise UserError("it lacks a tensor, or has one more")
    for name, tensor in tensors.items():
        if (tensor.shape, tensor.dtype) != (likeness[name].shape, likeness[name].dtype):
            raise UserError(f"its {name} is of another shape or type")
    _require_generators(tensors)


def _is_position(stated: Any) -> bool:
    if not isinstance(stated, dict):
        return False
    numbers = {name: value for name, value in stated.items() if name != "best_loss"}
    loss = stated.get("best_loss")
    return all(type(value) is int and value >= 0 for value in numbers.values()) and (
        loss is None or (type(loss) is float and math.isfinite(loss))
    )


def _is_schedule(about: Mapping[str, Any], begun: Mapping[str, Any]) -> bool:
    stated = about.get("schedule")
    if not isinstance(stated, dict) or stated.keys() != begun.keys():
        return False
    if stated["last_epoch"] != about["position"].get("step") or stated["base_lrs"] != begun["base_lrs"]:
        return False
    rates = stated["_last_lr"]
    is_list = isinstance(rates, list) and len(rates) == len(begun["_last_lr"])
    return is_list and all(type(rate) in (int, float) and math.isfinite(rate) for rate in rates)


def _likeness(tensors: Mapping[str, Tensor], begun: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what a checkpoint may hold, each with a tensor of its shape and type: all parameters have a best or none.

    A parameter that no gradient reaches has nothing in the optimizer.
    """
    parameters = {name.removeprefix("parameter."): value for name, value in begun.items() if name[:10] == "parameter."}
    found = dict(begun)
    if "best.0" in tensors:
        found |= {f"best.{number}": value for number, value in parameters.items()}
    for number, value in parameters.items():
        if f"optimizer.{number}.step" in tensors:
            found |= {f"optimizer.{number}.{moment}": value for moment in MOMENTS}
            found[f"optimizer.{number}.step"] = torch.zeros(())
    return found


def _require_generators(tensors: Mapping[str, Tensor]) -> None:
    for name in ("order", "generator.cpu"):
        try:
            torch.Generator().set_state(tensors[name])
        except RuntimeError:
            raise UserError(f"its {name} is no state of a generator")
