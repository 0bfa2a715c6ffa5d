"""Stock classes that compute what another one does, and have biases which that one lacks.

What may be told by looking at the class is not listed here; that two classes compute the same is a fact about their
code. Attention windows are checked here, because texts that are shorter than a window can't show one that is ignored.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import GraniteMoeConfig, LlamaConfig, PreTrainedConfig, SmolLM3Config

Weights = dict[str, Tensor]
Found = tuple[str, PreTrainedConfig, Weights]

SHARED = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "max_position_embeddings",
    "initializer_range",
    "rms_norm_eps",
    "rope_parameters",
    "tie_word_embeddings",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "use_cache",
)


def other_classes(config: PreTrainedConfig, state: Weights) -> Iterator[Found]:
    """Yield how, in what config and under what names another class holds a model's weights."""
    for find in OTHERS.get(config.model_type, ()):
        if (found := find(config, state)) is not None:
            yield found


def _shared(config: PreTrainedConfig) -> dict[str, Any]:
    settings = {name: getattr(config, name) for name in SHARED if getattr(config, name, None) is not None}
    head_dim = settings.get("head_dim") or config.hidden_size // config.num_attention_heads
    # Left out, a token is another class's own default.
    tokens = {name: getattr(config, name, None) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return {**settings, **tokens, "head_dim": head_dim}


def _kinds(config: PreTrainedConfig) -> list[str]:
    """Return the kind of attention of each layer; where none is stated, a window is every layer's."""
    one = "sliding_attention" if getattr(config, "sliding_window", None) else "full_attention"
    return list(getattr(config, "layer_types", None) or [one] * config.num_hidden_layers)


def _llama(config: PreTrainedConfig, state: Weights) -> Found | None:
    if set(_kinds(config)) != {"full_attention"}:
        return None
    return "Llama's class", LlamaConfig(**_shared(config)), state


def _smollm3(config: PreTrainedConfig, state: Weights) -> Found | None:
    kinds = _kinds(config)
    if set(kinds) - {"full_attention", "sliding_attention"}:
        return None
    window = config.sliding_window if "sliding_attention" in kinds else None
    settings = _shared(config) | {
        "layer_types": kinds,
        "no_rope_layers": [1] * config.num_hidden_layers,
        "use_sliding_window": window is not None,
        "sliding_window": window,
    }
    return "SmolLM3's class", SmolLM3Config(**settings), state


def _of_phi3(config: PreTrainedConfig, state: Weights) -> Found | None:
    """Split what Phi-3 keeps in one map; with a part of each head turned, or longrope, there is no other."""
    rope = config.rope_parameters or {}
    partial = float(rope.get("partial_rotary_factor") or getattr(config, "partial_rotary_factor", None) or 1)
    if rope.get("rope_type", "default") != "default" or partial != 1:
        return None
    if (found := _llama(config, state) or _smollm3(config, state)) is None:
        return None
    words, other, _ = found
    head_dim = other.head_dim
    parts = {
        "qkv_proj": {
            "q_proj": config.num_attention_heads * head_dim,
            "k_proj": config.num_key_value_heads * head_dim,
            "v_proj": config.num_key_value_heads * head_dim,
        },
        "gate_up_proj": dict.fromkeys(("gate_proj", "up_proj"), config.intermediate_size),
    }
    return words, other, _split(state, parts)


def _split(state: Weights, parts: dict[str, dict[str, int]]) -> Weights:
    """Return weights with each map of some names split, by rows, into maps of other names and sizes."""
    new: Weights = {}
    for name, tensor in state.items():
        owner, _, leaf = name.rpartition(".")
        parent, _, own = owner.rpartition(".")
        if own not in parts:
            new[name] = tensor
            continue
        for (part, _), rows in zip(parts[own].items(), torch.split(tensor, list(parts[own].values())), strict=True):
            new[f"{parent}.{part}.{leaf}"] = rows.contiguous()
    return new


def _granite_moe(config: PreTrainedConfig, state: Weights) -> Found | None:
    """Name Mixtral's experts as GraniteMoe does, whose own multipliers are all 1 but for the usual one of attention."""
    if set(_kinds(config)) != {"full_attention"}:
        return None
    shared = _shared(config)
    settings = shared | {
        "num_local_experts": config.num_local_experts,
        "num_experts_per_tok": config.num_experts_per_tok,
        "attention_multiplier": shared["head_dim"] ** -0.5,
        "embedding_multiplier": 1.0,
        "residual_multiplier": 1.0,
        "logits_scaling": 1.0,
    }
    router, experts = ("mlp.gate.", "block_sparse_moe.router."), ("mlp.experts.", "block_sparse_moe.experts.")
    renamed = {name.replace(*router).replace(*experts): tensor for name, tensor in state.items()}
    return "GraniteMoe's class", GraniteMoeConfig(**settings), renamed


OTHERS: dict[str, tuple[Callable[[PreTrainedConfig, Weights], Found | None], ...]] = {
    "mistral": (_llama, _smollm3),
    "ministral": (_llama, _smollm3),
    "qwen2": (_llama, _smollm3),
    "phi3": (_of_phi3,),
    "mixtral": (_granite_moe,),
}
"""Model type -> the classes that hold its weights, the one that more engines read first."""
