"""How many tokens one forward pass holds, where the user does not say."""

import torch
from transformers import PreTrainedConfig, PreTrainedModel

ROW_TOKENS = {"cpu": 512, "cuda": 4096}
"""Enough to keep the device busy, few enough that the row's mask stays small."""

BYTES_KEPT = 12
"""What eager attention keeps of a pair of tokens for the way back: scores, their softmax in float32, and a copy."""

SMALLEST = 256


def default_row_tokens(model: PreTrainedModel) -> int:
    """Return the tokens of a row that the model's device takes in training.

    Attention kernels keep nothing of a pair of tokens. Eager attention, the only one of some families, keeps all pairs
    of all heads of all layers, so there the row is as long as half of the memory that the weights leave free allows.
    """
    tokens = ROW_TOKENS.get(model.device.type, ROW_TOKENS["cpu"])
    config = model.config.get_text_config(decoder=True)
    if model.device.type != "cuda" or config._attn_implementation != "eager":
        return tokens
    free, _ = torch.cuda.mem_get_info(model.device)
    return min(tokens, eager_row_tokens(config, free // 2))


def eager_row_tokens(config: PreTrainedConfig, num_bytes: int) -> int:
    """Return how long a row's attention may be in so many bytes, all layers kept."""
    bytes_a_pair = config.num_hidden_layers * config.num_attention_heads * BYTES_KEPT
    return max(SMALLEST, int((num_bytes / bytes_a_pair) ** 0.5))
