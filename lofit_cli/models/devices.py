"""Where a model is: on one device, on several, or partly out of memory until it is needed."""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel


def find_device(name: str) -> torch.device:
    """Return a device by name, or for `auto` the accelerator that torch has found, of whatever make, else the CPU."""
    if name != "auto":
        return torch.device(name)
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found or torch.device("cpu")


def input_device(model: PreTrainedModel) -> torch.device:
    """Return where a model's inputs are put: with its first weights that are in memory."""
    in_memory = (weight.device for weight in model.parameters() if not weight.is_meta)
    return next(in_memory, torch.device("cpu"))


def is_offloaded(model: nn.Module) -> bool:
    """Return whether some weights are out of memory until they are needed."""
    return any(weight.is_meta for weight in model.parameters())


def describe_devices(model: PreTrainedModel) -> str:
    """Return the devices that hold the weights, in the model's order, with the disk where it holds some."""
    names = [str(weight.device) if not weight.is_meta else "offloaded" for weight in model.parameters()]
    return ", ".join(dict.fromkeys(names))


def memory_of(device: torch.device) -> tuple[int, int] | None:
    """Return the free and the total memory of an accelerator in bytes; None where torch does not tell."""
    told: Any = getattr(getattr(torch, device.type, None), "mem_get_info", None)
    return told(device) if told else None
