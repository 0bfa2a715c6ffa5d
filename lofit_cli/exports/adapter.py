"""An edit as an adapter that the stock peft library loads."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import peft
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lofit_cli.errors import UserError
from lofit_cli.exports.fold import Fold, weight_rows
from lofit_cli.interventions.peft_edit import LIBRARY_ERRORS, PeftEdit
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.weights import name_of

ADAPTER = "default"


def require_linear_maps(lm: Decoder, fold: Fold) -> None:
    """Refuse a fold that changes norms, where LoRA has no place for a bias."""
    for path in fold.biases:
        if not isinstance(lm.model.get_submodule(path), nn.Linear | Conv1D):
            raise UserError(f"it has a bias for {path}, and LoRA changes linear maps only; use to=hf")


def write_fold(lm: Decoder, fold: Fold, folder: Path) -> None:
    """Write LoRA with biases: `B A x + b` is added to what a map W makes of x.

    An offset is the bias alone, at rank 1 with A and B of zeros. A scale s is the map W diag(s): each edited
    number of a head is a row of A that picks it, and a column of B that is W's times s.

    Raises:
        UserError: the peft library can't adapt these maps.
    """
    with _lora(lm, fold) as adapted, torch.no_grad():
        for path in fold.columns.keys() | fold.biases.keys():
            layer: Any = adapted.get_submodule(f"base_model.model.{path}")
            base = weight_rows(layer.base_layer)
            picked, columns, bias = lora_weights(base, fold.columns.get(path), fold.biases.get(path))
            first, second = layer.lora_A[ADAPTER], layer.lora_B[ADAPTER]
            for weight in (first.weight, second.weight, second.bias):
                weight.zero_()
            first.weight[: len(picked), :] = picked
            second.weight[:, : len(picked)] = columns
            second.bias += bias
        _save(adapted, lm, folder)


def lora_weights(weight: Tensor, factors: Tensor | None, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return A (rank, num_in), B (num_out, rank) and the bias (num_out,) of one map's change."""
    scale = torch.zeros_like(weight[0]) if factors is None else factors - 1
    rows = scale.nonzero().flatten()
    picked = torch.zeros(len(rows), weight.shape[1], device=weight.device)
    picked[torch.arange(len(rows)), rows] = 1
    return picked, weight[:, rows] * scale[rows], torch.zeros_like(weight[:, 0]) if bias is None else bias


def write_adapter(lm: Decoder, edit: PeftEdit, folder: Path) -> None:
    """Write an adapter of the peft library as the library itself saves it."""
    with edit.adapted(lm) as adapted:
        _save(adapted, lm, folder)


def _save(adapted: peft.PeftModel, lm: Decoder, folder: Path) -> None:
    adapted.peft_config[ADAPTER].base_model_name_or_path = name_of(lm.id)
    with warnings.catch_warnings():
        # The library takes the bias of one dimension for a part of a matrix.
        warnings.filterwarnings("ignore", message=".*LoRA tensor.* have invalid shape")
        # Asked to find out whether the vocabulary has grown, it would look for the base on the Hub.
        adapted.save_pretrained(str(folder), save_embedding_layers=False)


@contextmanager
def _lora(lm: Decoder, fold: Fold) -> Iterator[peft.PeftModel]:
    ranks = [int((factors != 1).sum()) for factors in fold.columns.values()]
    rank, paths = max([1, *ranks]), sorted(fold.columns.keys() | fold.biases.keys())
    # Whole paths, because `c_proj` is the output of GPT-2's attention and of its MLP.
    config = peft.LoraConfig(
        r=rank, lora_alpha=rank, target_modules=paths, lora_bias=True, task_type="CAUSAL_LM", inference_mode=True
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            adapted = peft.get_peft_model(lm.model, config)
    except LIBRARY_ERRORS as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"the peft library can't adapt {paths[0]} of this model ({reason}); use to=hf")
    try:
        yield adapted
    finally:
        adapted.unload()
        lm.model.requires_grad_(False)
