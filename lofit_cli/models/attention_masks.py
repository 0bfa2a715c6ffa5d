"""Attention masks of packed rows: a token sees those before it in its own sequence, as far as its layer lets it."""

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from lofit_cli.models.packing import PackedRow

WINDOWS = {"sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}
"""The kinds of layer that see a part of the sequence only, with the setting that says how large a part."""


def attention_kinds(config: PreTrainedConfig) -> set[str]:
    """Return the kinds of the decoder's layers; where none is stated, a window is every layer's, as in transformers."""
    stated = getattr(config, "layer_types", None)
    windowed = (kind for kind, setting in WINDOWS.items() if getattr(config, setting, None))
    return set(stated) if stated else {next(windowed, "full_attention")}


def reached_windows(config: PreTrainedConfig, num_positions: int) -> dict[str, int]:
    """Return, by kind of layer, the windows that a sequence of so many tokens is too long for."""
    sizes = {kind: getattr(config, setting, None) for kind, setting in WINDOWS.items()}
    kinds = attention_kinds(config)
    return {kind: size for kind, size in sizes.items() if size and kind in kinds and num_positions > size}


def row_masks(model: PreTrainedModel, row: PackedRow, prefix_length: int) -> Tensor | dict[str, Tensor]:
    """Return the additive mask (1, 1, n, prefix + n), or one for each kind of layer where windows matter.

    All of it is computed where the row lies, since a mask is much larger than what it is made from.
    """
    config = model.config.get_text_config(decoder=True)
    visible = row.visible()
    visible = torch.cat([visible.new_ones(len(visible), prefix_length), visible], dim=1)
    windows = reached_windows(config, row.num_positions)
    if not windows:
        return _additive(visible, model.dtype)
    keys = torch.cat([torch.arange(prefix_length, device=row.positions.device), row.positions])
    near = {kind: _near(kind, size, row.positions[:, None], keys[None]) for kind, size in windows.items()}
    kinds = attention_kinds(config)
    masks = {kind: _additive(visible & near[kind] if kind in near else visible, model.dtype) for kind in kinds}
    return masks if len(masks) > 1 else masks[kinds.pop()]


def _near(kind: str, size: int, queries: Tensor, keys: Tensor) -> Tensor:
    """Return which positions a window of this size reaches, as `transformers.masking_utils` counts them."""
    return queries // size == keys // size if kind == "chunked_attention" else queries - keys < size


def _additive(visible: Tensor, dtype: torch.dtype) -> Tensor:
    mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return mask.masked_fill_(~visible, torch.finfo(dtype).min)[None, None]
