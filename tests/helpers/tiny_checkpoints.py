"""A tiny random checkpoint of any causal architecture of transformers: its default config, shrunk by rules."""

import re
from pathlib import Path
from typing import Any

import torch
from tiny_models import VOCABULARY, build_tokenizer
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)

ARCHITECTURES = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
VISION_LANGUAGE = tuple(name for name in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES if name not in ARCHITECTURES)

HIDDEN, HEADS, HEAD_DIM, WINDOW, POSITIONS = 32, 4, 16, 16, 512
NUM_LAYERS = 4
NEVER_SAID = VOCABULARY - 1
"""A token that no text has: it stands for images and sounds."""

RULES = {
    r"((un)?padded_|decoder_)?vocab_size(_per_layer_input)?": VOCABULARY,
    r"max_position_embeddings|n_positions|n_ctx|max_seq_len|model_max_length|max_target_positions": POSITIONS,
    r"context_length|rel_extent|max_inference_chunksize|log_scaling_n_floor|floor_scale": POSITIONS,
    r"original_max_position_embeddings": POSITIONS // 2,
    r"sliding_window(_size)?|.*window_size|.*window_len|attention_chunk_size|local_attention": WINDOW,
    r"index_topk|.*chunk_length|chunk_size|mamba_chunk_size|block_size": 12,
    r"index_topk_blocks|index_block_size": 4,
    r"(n|num|encoder|num_encoder)_layers|num_layers_per_stack|depth": NUM_LAYERS,
    r"hidden_size(_global)?|d_model|n_embd|emb_dim|embedding_dim|dim_model_base|lru_width|word_embed_proj_dim": HIDDEN,
    r"(input_|output_)?embedding_size|backbone_hidden_size|embed_dim|attention_hidden_size": HIDDEN,
    r"hidden_size_per_layer_input|(pronunciation|shape|ple)_embed_dim|router_hidden_size": 8,
    r".*intermediate_size(_mlp)?|.*ffn_dim|.*ffn_hidden_size|dff|dim_ff|d_inner|feed_forward_size": 48,
    r"(num_|n_|.*_)?(attention_)?heads?": HEADS,
    r"num_key_value_heads|num_kv_heads|swa_num_key_value_heads|num_query_groups|kv_n_heads": 2,
    r".*head_dim|dim_head|d_head|kv_channels|.*head_size": HEAD_DIM,
    r"qk_(nope|rope)_head_dim|rotary_dim|d_rel": 8,
    r"v_head_dim": 12,
    r".*_rank|hc_lowrank|.*d_state|.*state_size": 8,
    r"num(_local)?_experts|n_routed_experts|moe_num_experts|zero_expert_num": 4,
    r"num_experts_per_tok(en)?|moe_topk?|moe_k|top_k|n_group|topk_group|num_expert_group": 2,
}
"""Name of a setting -> the most that it may be in a tiny model; the last rule that fits is the one."""

LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "num_decoder_layers")
LAYER_NUMBERS = {"mlp_only_layers", "full_attn_idxs", "moe_layers", "hybrid_layer_ids"}
END_TOKENS = {"bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "forced_eos_token_id"}

MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16}
EXPERTS = {"n_routed_experts": 4, "num_experts_per_tok": 2}
NO_LAYER_INPUT = {"hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0}
NEEDED: dict[str, dict[str, Any]] = {"gemma4_assistant": {"text_config": NO_LAYER_INPUT}}
"""Architecture -> settings without which there is no default config."""

DRAFT = {"text_config": NO_LAYER_INPUT | {"num_kv_shared_layers": NUM_LAYERS}}
PLAIN_ROPE = {"full_attention": {"rope_type": "default", "rope_theta": 10000.0}}
PLAIN_SWA = {"num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": 8, "kv_lora_rank": 12}
PLAIN_SWA |= {"head_dim": 16, "qk_nope_head_dim": 8, "v_head_dim": 12}
EXCEPTIONS: dict[str, dict[str, object]] = {
    "bamba": MAMBA | {"attn_layer_indices": [1, 3]},
    "blt": {"encoder_hash_byte_group_vocab": 64},
    "cohere_compass_text": {"rope_parameters": PLAIN_ROPE},
    "dbrx": {"attn_config": {"rope_theta": 10000.0, "clip_qkv": 8.0}},
    "deepseek_v2": EXPERTS,
    "dots1": EXPERTS | {"n_shared_experts": 1},
    "dots3_note": {
        "vision_config": {"adapter_in_dim": HIDDEN, "adapter_out_dim": HIDDEN},
        "audio_config": {"adapter_input_size": HIDDEN, "adapter_out_dim": HIDDEN},
    },
    "dots3_note_text": {f"swa_{name}": value for name, value in PLAIN_SWA.items()},
    "falcon_h1": MAMBA | {"mamba_d_ssm": 64},
    "gemma3n_text": {"num_kv_shared_layers": 2},
    "gemma4_assistant": DRAFT,
    "gemma4_text": {"global_head_dim": 24},
    "gemma4_unified_assistant": DRAFT,
    "gemma4_unified_text": {"global_head_dim": 24},
    "granitemoehybrid": MAMBA | {"layer_types": ["linear_attention", "full_attention"] * 2},
    "hrm_text": {"num_hidden_layers": 2, "num_layers_per_stack": None},
    "hunyuan_v1_dense": {"head_dim": HEAD_DIM},
    "hunyuan_v1_moe": {"head_dim": HEAD_DIM},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2_moe": {"layer_types": ["conv", "full_attention", "conv", "full_attention"]},
    "longcat_flash": {"head_dim": 8},
    "mamba2": {"n_groups": 2},
    "ministral": {"head_dim": HEAD_DIM},
    "nemotron": {"num_key_value_heads": 2},
    "nemotron_h": {"n_groups": 2},
    "qwen4_exp_text": {
        "indexer_n_heads": 4,
        "indexer_kv_heads": 1,
        "indexer_head_dim": HEAD_DIM,
        "indexer_budget": 16,
        "indexer_compress_ratio": 4,
    },
    "reformer": {"axial_pos_embds_dim": [8, 24], "axial_pos_shape": [16, 32]},
    "xlnet": {"d_head": HIDDEN // HEADS},
    "xmod": {"default_language": "en_XX"},
    "xlstm": {"qk_dim_factor": 1.0, "hidden_size": 64, "embedding_dim": 64},
    "zamba": {"attention_hidden_size": 2 * HIDDEN},
    "zamba2": {"attention_hidden_size": 2 * HIDDEN},
}
"""Architecture -> settings that the rules don't find."""


def build_checkpoint(architecture: str, folder: Path, **changes: object) -> None:
    """Write a tiny checkpoint with its tokenizer."""
    build_architecture(architecture, **changes).save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)


def build_architecture(architecture: str, **changes: object) -> PreTrainedModel:
    """Return a tiny model in float32, with every kind of layer that the family's default has."""
    default = CONFIG_MAPPING[architecture](**NEEDED.get(architecture, {}))
    config = _shrink(default, EXCEPTIONS.get(architecture, {}) | changes)
    torch.manual_seed(0)
    kind = AutoModelForCausalLM if architecture in ARCHITECTURES else AutoModelForImageTextToText
    model = kind.from_config(config, dtype=torch.float32).eval()
    _randomise(model)
    return model


def _randomise(model: PreTrainedModel) -> None:
    """Give every weight a size at which a wrong mask or position shows, those that begin at one constant too."""
    generator = torch.Generator().manual_seed(1)
    for weight in model.parameters():
        noise = torch.randn(weight.shape, generator=generator)
        if weight.ndim > 1:
            weight.data = noise * weight.shape[-1] ** -0.5
        else:
            weight.data = torch.nan_to_num(weight.data) + 0.1 * noise


def _shrink(config: PretrainedConfig, changes: dict[str, Any]) -> PretrainedConfig:
    changes = dict(changes)
    settings = config.to_dict()
    kept = _kept_layers(settings)
    small: dict[str, object] = {"is_decoder": True} if "is_decoder" in settings else {}
    for name, value in settings.items():
        if name == "per_layer_config":  # the family fills it in
            continue
        inner = vars(config).get(name)
        if isinstance(inner, PretrainedConfig):
            own = changes.pop(name, {})
            small[name] = _shrink(inner, EXCEPTIONS.get(inner.model_type, {}) | own)
        elif (new := _tiny(name, value, settings, kept)) != value:
            small[name] = new
    return type(config)(**(small | changes))


def _num_layers(settings: dict[str, object]) -> tuple[str, int] | None:
    return next(((name, settings[name]) for name in LAYERS if isinstance(settings.get(name), int)), None)


def _kept_layers(settings: dict[str, object]) -> list[int]:
    """Return the layers that the tiny model keeps: of each kind the first, then the second, and so on."""
    num_layers = (_num_layers(settings) or ("", 0))[1]
    lists = [value for value in settings.values() if isinstance(value, list) and len(value) == num_layers]
    kinds = list(zip(*lists, strict=True)) if lists else [()] * num_layers
    names = [str(kind) for kind in kinds]
    by_turn = sorted(range(num_layers), key=lambda layer: names[:layer].count(names[layer]))
    return sorted(by_turn[: max(NUM_LAYERS, len(set(names)))])


def _tiny(name: str, value: object, settings: dict[str, object], kept: list[int]) -> object:
    if name in LAYERS and _num_layers(settings) == (name, value):
        return len(kept)
    if name in LAYER_NUMBERS and isinstance(value, list):
        return [kept.index(layer) for layer in value if layer in kept]
    if isinstance(value, list) and value and len(value) == (_num_layers(settings) or ("", 0))[1]:
        return [_tiny(name.removesuffix("_per_layer"), value[layer], {}, kept) for layer in kept]
    if name in END_TOKENS:
        return value if value is None else 0
    if re.fullmatch(r".*token_(id|index)", name) and isinstance(value, int):
        return NEVER_SAID
    if isinstance(value, dict):
        return {key: _tiny(str(key), inner, value, kept) for key, inner in value.items()}
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if name == "head_dim" and value == settings.get("qk_rope_head_dim"):
        return _tiny("qk_rope_head_dim", value, settings, kept)
    if name == "head_dim" and value * settings.get("num_attention_heads", 0) == settings.get("hidden_size"):
        return HIDDEN // HEADS
    if name in ("num_key_value_heads", "num_kv_heads") and value == settings.get("num_attention_heads"):
        return HEADS
    limits = [limit for pattern, limit in RULES.items() if re.fullmatch(pattern, name)]
    return min(value, limits[-1]) if limits else value
