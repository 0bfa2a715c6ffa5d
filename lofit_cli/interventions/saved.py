"""What was saved of an intervention, checked before it is used: nothing is taken for what it is not."""

import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lofit_cli.artifacts.tensors import require_finite
from lofit_cli.errors import UserError
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.devices import is_offloaded

KINDS: dict[type, str] = {int: "a whole number", float: "a number", str: "a text", list: "a list", dict: "an object"}


def require_weights(lm: Decoder, what: str) -> None:
    """Refuse to change or replace weights that are out of memory: what is put there would be lost.

    Args:
        what: kind of intervention, for the sentence.
    """
    if is_offloaded(lm.model):
        raise UserError(
            f"{what} needs all weights of model '{lm.id}' in memory, and model.device_map=auto has put some out of it; "
            "use more memory, a smaller model.dtype, or a method that leaves weights alone, such as lofit"
        )


def require_settings(settings: Any, **kinds: type) -> None:
    """Refuse settings that are not exactly these, each of its type; a number may be written as a whole one.

    Raises:
        UserError: names the setting, its value and what it must be.
    """
    if not isinstance(settings, dict) or settings.keys() != kinds.keys():
        raise UserError(f"its settings are {_shorten(settings)}, and must be {', '.join(kinds) or 'none'}")
    for name, kind in kinds.items():
        value = settings[name]
        if kind is float and type(value) in (int, float):
            fits = -sys.float_info.max <= value <= sys.float_info.max
        else:
            fits = type(value) is kind
        if not fits:
            raise UserError(f"its setting {name} is {_shorten(value)}, and must be {KINDS[kind]}")


def require_layer(layer: int, num_layers: int) -> None:
    """Refuse a layer that a model does not have."""
    if not 0 <= layer < num_layers:
        raise UserError(f"its layer is {_shorten(layer)}, and this model has layers 0 to {num_layers - 1}")


def require_layers(layers: list[Any], num_layers: int) -> list[int]:
    """Return layers, refusing anything that is not a list of some that a model has, each once and in order."""
    if not layers or any(type(layer) is not int for layer in layers) or layers != sorted(set(layers)):
        raise UserError(f"its layers are {_shorten(layers)}, and must be numbers of layers in ascending order")
    for layer in layers:
        require_layer(layer, num_layers)
    return layers


def require_tensors(
    tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Return tensors of floating-point numbers in one dtype, in the order of `shapes`.

    Raises:
        UserError: one is missing or too many, of another shape or type, or has numbers that are not finite.
    """
    if odd := next(iter(tensors.keys() ^ shapes.keys()), None):
        raise UserError(f"it {'holds' if odd in tensors else 'lacks'} '{odd}', which does not fit this model")
    return {name: _require(name, tensors[name], shape, dtype) for name, shape in shapes.items()}


def _require(name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    if tensor.shape != shape:
        raise UserError(f"its {name} has shape {tuple(tensor.shape)}, and this model needs {tuple(shape)}")
    if not tensor.is_floating_point():
        raise UserError(
            f"its {name} holds {str(tensor.dtype).removeprefix('torch.')}, and must hold floating-point numbers"
        )
    found = tensor.to(dtype)
    require_finite(name, found)
    return found


def _shorten(value: Any, length: int = 60) -> str:
    """Return a value as Python writes it, cut where it is long."""
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**length else "a number of many digits"
    return text if len(text) <= length else f"{text[:length]}..."
