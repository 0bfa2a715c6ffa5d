"""Offsets as biases of the values, for families whose output projection can have none."""

import copy

from torch import Tensor
from transformers import PreTrainedConfig

from lofit_cli.exports.fold import Fold
from lofit_cli.models.decoder import Decoder

SINKS = "sinks"


def value_bias_state(lm: Decoder, fold: Fold) -> tuple[PreTrainedConfig, dict[str, Tensor]] | None:
    """Return a config with one KV head for each query head, and the weights with offsets in the values' biases.

    The attention of a token sums to 1, so that what is added to a head's values is added to its activation; a scale is
    a factor of the values. A value that several query heads share is repeated first, with its key. Where an attention
    may rest on a sink its weights sum to less, and there is no such route.
    """
    config = copy.deepcopy(lm.model.config)
    text, state = config.get_text_config(decoder=True), dict(lm.model.state_dict())
    num_heads, shared = text.num_attention_heads, int(getattr(text, "num_key_value_heads", None) or 0)
    is_whole = set(fold.biases) == set(fold.offsets) and fold.offsets and shared and num_heads % shared == 0
    if not is_whole or any(name.endswith(SINKS) for name in state):
        return None
    text.num_key_value_heads = num_heads
    for path in list(state):
        owner, _, leaf = path.rpartition(".")
        if owner.endswith((".k_proj", ".v_proj")) and leaf in ("weight", "bias"):
            state[path] = _repeated(state[path], shared, num_heads // shared)
    for path in fold.offsets.keys() | fold.columns.keys():
        value = f"{path.rpartition('.')[0]}.v_proj"
        if f"{value}.weight" not in state:
            return None
        _change_values(state, value, fold.columns.get(path), fold.offsets.get(path))
    return config, state


def _repeated(tensor: Tensor, num_shared: int, times: int) -> Tensor:
    """Return a map's weight or bias with the rows of each KV head repeated."""
    heads: Tensor = tensor.unflatten(0, (num_shared, -1))
    return heads.repeat_interleave(times, dim=0).flatten(0, 1).contiguous()


def _change_values(state: dict[str, Tensor], value: str, factors: Tensor | None, offset: Tensor | None) -> None:
    weight, bias = f"{value}.weight", f"{value}.bias"
    if factors is not None:
        state[weight] = state[weight] * factors[:, None]
        if bias in state:
            state[bias] = state[bias] * factors
    if offset is not None:
        state[bias] = state[bias] + offset if bias in state else offset
