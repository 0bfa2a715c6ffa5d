"""Tiny random models of many decoder families, and a tokenizer made on the spot."""

import pytest
import torch
import transformers as t
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from lofit_cli.artifacts.geometry import Geometry
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.models.heads import find_heads
from lofit_cli.models.language_model import LanguageModel

VOCABULARY = 300
SHAPE = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
GROUPED = {**SHAPE, "intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 2048}
WIDE = {**GROUPED, "head_dim": 12}
FAMILIES = {
    "llama": (t.LlamaConfig, GROUPED),
    "mistral": (t.MistralConfig, {**WIDE, "sliding_window": None}),
    "qwen2": (t.Qwen2Config, GROUPED),
    "qwen3": (t.Qwen3Config, WIDE),
    "gemma2": (t.Gemma2Config, WIDE),
    "gemma3": (t.Gemma3TextConfig, WIDE),
    "phi3": (t.Phi3Config, {**GROUPED, "pad_token_id": 0}),
    "gpt2": (t.GPT2Config, {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 2048}),
    "gpt_neox": (t.GPTNeoXConfig, {**SHAPE, "intermediate_size": 48, "max_position_embeddings": 2048}),
    "opt": (t.OPTConfig, {**SHAPE, "ffn_dim": 48, "word_embed_proj_dim": 32, "max_position_embeddings": 2048}),
    "olmo2": (t.Olmo2Config, GROUPED),
}
EVERYDAY = ("llama", "gemma3", "gpt2")
EACH_FAMILY = [pytest.param(name, marks=() if name in EVERYDAY else pytest.mark.slow) for name in FAMILIES]
"""Parameters of a test that runs in every family: in three of them by default, in all of them under `-m ""`."""

OTHERS = {
    "bloom": (t.BloomConfig, {"vocab_size": VOCABULARY, "hidden_size": 32, "n_layer": 3, "n_head": 4}),
    "mpt": (t.MptConfig, {"vocab_size": VOCABULARY, "d_model": 32, "n_layers": 3, "n_heads": 4}),
    "falcon": (t.FalconConfig, {**SHAPE, "alibi": True}),
    "gpt_neo": (
        t.GPTNeoConfig,
        {
            "vocab_size": VOCABULARY,
            "hidden_size": 32,
            "num_layers": 4,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 2]],
            "window_size": 32,
        },
    ),
    "mamba": (t.MambaConfig, {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 3, "state_size": 4}),
    "openai_gpt": (
        t.OpenAIGPTConfig,
        {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 2048},
    ),
    "gemma3n": (
        t.Gemma3nTextConfig,
        {
            **WIDE,
            "vocab_size_per_layer_input": VOCABULARY,
            "hidden_size_per_layer_input": 8,
            "laurel_rank": 4,
            "num_kv_shared_layers": 0,
            "layer_types": ["full_attention"] * 3,
            "sliding_window": 4096,
            "activation_sparsity_pattern": [0.0] * 3,
        },
    ),
    "gpt2_of_2_layers": (t.GPT2Config, {**FAMILIES["gpt2"][1], "n_layer": 2}),
}


def build_model(family, **changes):
    """Return a model whose weights are large enough that a wrong mask or position shows in its logits."""
    config_class, settings = (FAMILIES | OTHERS)[family]
    config = config_class(**{**settings, **changes})
    for name in ("initializer_range", "init_std"):
        if hasattr(config, name):
            setattr(config, name, 0.25)
    torch.manual_seed(0)
    return t.AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)


def build_tokenizer():
    """Return a byte-level BPE tokenizer whose merges include ':N', across the boundary of `A:` and `No`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=290, initial_alphabet=alphabet, special_tokens=["<eos>"])
    tokenizer.train_from_iterator([":N:N:N:N the the the number answer"], trainer)
    return t.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<eos>")


def build_language_model(family, batching="packed", max_row_tokens=64, **changes):
    """Return a tiny model with its heads found, scored in packed rows or in padded batches."""
    model = build_model(family, **changes)
    return LanguageModel(family, model, build_tokenizer(), *find_heads(model), batching, max_row_tokens)


def headless(model, **settings):
    """Return a model of which nobody asks where its heads are."""
    model.eval().requires_grad_(False)
    layers = next((list(module) for module in model.modules() if isinstance(module, torch.nn.ModuleList)), [])
    return LanguageModel("tiny", model, build_tokenizer(), None, layers, {}, **settings)


def random_values(geometry, seed, size=0.3):
    """Return random numbers in the shape of all head activations."""
    shape = (geometry.num_layers, geometry.max_heads, geometry.head_dim)
    return size * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def edit_all_heads(scale=None, offset=None, layers=range(3), positions="all"):
    """Return the edit with these (num_layers, heads_per_layer, head_dim) values in some layers."""
    geometry = Geometry.uniform(*(offset if scale is None else scale).shape)
    mask = torch.zeros(geometry.every_head().shape, dtype=torch.bool)
    mask[list(layers)] = True
    values = [None if value is None else value[mask].clone() for value in (scale, offset)]
    return HeadEdit(geometry, mask, *values, positions)
