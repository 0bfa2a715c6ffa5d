"""Which logits a forward pass gives: those of the tokens that are asked for, where the model can be asked."""

import inspect
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from lofit_cli.models.devices import input_device

Inputs = dict[str, Any]
"""The keyword arguments of a forward pass."""


def keep_logits(model: PreTrainedModel, positions: Tensor | int) -> Inputs:
    """Return the arguments that take logits at these positions only, where the model has such an argument.

    Args:
        positions: their numbers, or how many of the last ones; 0 for all.
    """
    return {"logits_to_keep": positions} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}


def no_logits(model: PreTrainedModel) -> Inputs:
    """Return the arguments that take logits at one position only, for a pass that needs none."""
    return keep_logits(model, torch.zeros(1, dtype=torch.long, device=input_device(model)))


def kept_states(hidden: Tensor, inputs: Inputs) -> Tensor:
    """Return the hidden states (batch, kept, hidden) of the tokens whose logits a forward pass keeps."""
    keep = inputs.get("logits_to_keep", 0)
    return hidden[:, -keep or None :] if isinstance(keep, int) else hidden[:, keep.to(hidden.device)]
