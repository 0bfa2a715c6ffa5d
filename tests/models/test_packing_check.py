"""How a model's sequences may share a forward pass is judged token by token, and what leaks is found in any dtype."""

from dataclasses import replace

import pytest
import torch
import transformers as t
from tiny_models import (
    EACH_FAMILY,
    FAMILIES,
    GROUPED,
    SHAPE,
    VOCABULARY,
    WIDE,
    build_language_model,
    build_model,
    headless,
)

from lofit_cli.errors import UserError
from lofit_cli.models import packing_check
from lofit_cli.models.forward import cache_prefix, packed_token_logprobs, padded_token_logprobs
from lofit_cli.models.generation import generate_lines
from lofit_cli.models.logprobs import score_answers
from lofit_cli.models.memory import eager_row_tokens
from lofit_cli.models.packing import TokenSequence
from lofit_cli.models.packing_check import choose_batching
from lofit_cli.models.packing_probe import foreign_windows, make_probe

EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
LINEAR = {
    **{"linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8},
    "num_hidden_layers": 4,
}
MAMBA = {"mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 16}
MASKED = {
    "llama4": (t.Llama4TextConfig, {**WIDE, "attention_chunk_size": 40, "intermediate_size_mlp": 48, **EXPERTS}),
    "cohere2": (t.Cohere2Config, {**WIDE, "sliding_window": 40, "num_hidden_layers": 4}),
    "gpt_oss": (t.GptOssConfig, {**WIDE, "sliding_window": 40, **EXPERTS}),
    "mixtral": (t.MixtralConfig, {**GROUPED, **EXPERTS}),
    "modernbert_decoder": (
        t.ModernBertDecoderConfig,
        {**SHAPE, "intermediate_size": 48, "local_attention": 40, "num_hidden_layers": 4}
        | dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 0),
    ),
}
HYBRIDS = {
    "qwen3_next": (
        t.Qwen3NextConfig,
        {**WIDE, **LINEAR, "num_experts": 4, "num_experts_per_tok": 2}
        | {"moe_intermediate_size": 16, "shared_expert_intermediate_size": 16},
    ),
    "qwen3_5": (t.Qwen3_5TextConfig, {**WIDE, **LINEAR}),
    "minimax": (t.MiniMaxConfig, {**WIDE, **EXPERTS, "block_size": 16}),
    "falcon_h1": (t.FalconH1Config, {**WIDE, **MAMBA, "mamba_d_ssm": 32, "mamba_n_heads": 4}),
    "bamba": (t.BambaConfig, {**GROUPED, **MAMBA, "mamba_n_heads": 8, "attn_layer_indices": [1]}),
    "lfm2": (t.Lfm2Config, {**GROUPED, "layer_types": ["conv", "full_attention", "conv"]}),
}
STATEFUL = {
    "rwkv": (t.RwkvConfig, {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 3}),
    "recurrent_gemma": (
        t.RecurrentGemmaConfig,
        {**SHAPE, "intermediate_size": 48, "num_key_value_heads": 1, "lru_width": 32, "attention_window_size": 40},
    ),
}
DTYPES = [torch.float32, torch.bfloat16]


def build(family, dtype=torch.float32, max_row_tokens=128, **changes):
    """Return a model of weights large enough to tell right from wrong; where its heads are doesn't matter here."""
    config_class, settings = {**FAMILIES, **MASKED, **HYBRIDS, **STATEFUL}[family]
    config = config_class(**{**settings, **changes})
    for name in ("initializer_range", "init_std"):
        if hasattr(config, name):
            setattr(config, name, 0.25)
    torch.manual_seed(0)
    lm = headless(t.AutoModelForCausalLM.from_config(config), max_row_tokens=max_row_tokens)
    for parameter in lm.model.parameters():
        # What starts as a constant, such as how soon a state is forgotten, is trained like the rest.
        if parameter.numel() > 1 and parameter.std() == 0:
            parameter.add_(0.1 * torch.randn(parameter.shape))
    lm.model.to(dtype)
    return lm


def tokens_by_hand(lm, sequence):
    """Return the log-probability of each answer token from a plain forward pass."""
    ids = torch.tensor([sequence.tokens])
    log_probs = lm.model(input_ids=ids).logits[0, :-1].float().log_softmax(-1)
    return log_probs.gather(-1, ids[0, 1:, None])[sequence.start - 1 :, 0]


@pytest.mark.parametrize("family", [*EACH_FAMILY, *MASKED])
def test_packed_tokens_equal_those_of_each_sequence_alone(family):
    lm = build(family)
    assert choose_batching(lm) == "packed"
    probe = make_probe(lm)
    with torch.no_grad():
        for row, prefix in (([*probe.strangers, *probe.siblings, probe.follower], ()), (probe.siblings, probe.prefix)):
            found = packed_token_logprobs(lm, row, cache_prefix(lm, prefix) if prefix else None)
            for values, sequence in zip(found, row, strict=True):
                expected = tokens_by_hand(lm, sequence)
                torch.testing.assert_close(values[: len(expected)], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", [*EACH_FAMILY, *MASKED])
def test_half_precision_models_can_still_pack_and_keep_their_weights(family, dtype):
    lm = build(family, dtype)
    before = {name: value.clone() for name, value in lm.model.state_dict().items()}
    assert choose_batching(lm) == "packed"
    assert all(value.dtype == before[name].dtype for name, value in lm.model.state_dict().items())
    assert all(value.equal(before[name]) for name, value in lm.model.state_dict().items())


@pytest.mark.parametrize("head", [1, 30])
@pytest.mark.parametrize("dtype", DTYPES)
def test_large_logits_are_no_leak(dtype, head):
    lm = build("llama", dtype)
    lm.model.get_output_embeddings().weight.mul_(head)
    assert choose_batching(lm) == "packed"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", ["bloom", "mpt", "falcon", "gpt_neo"])
def test_a_family_with_positions_or_a_mask_of_its_own_is_found_out(family, dtype):
    lm = build_language_model(family)
    lm.model.to(dtype)
    assert choose_batching(lm) == "padded"


@pytest.mark.parametrize("by", ["structure", "measurement"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", HYBRIDS)
def test_layers_that_carry_a_state_along_the_row_never_pack(family, dtype, by, monkeypatch):
    lm = build(family, dtype)
    if by == "structure":
        monkeypatch.setattr(packing_check, "_packs", lambda *args: True)
    else:
        monkeypatch.setattr(packing_check, "_takes_masks", lambda *args: True)
    assert choose_batching(lm) == "padded"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", STATEFUL)
def test_what_sees_the_pads_is_scored_and_generated_one_by_one(family, dtype, capsys):
    lm = build(family, dtype)
    assert choose_batching(lm) == "single"
    assert "one by one" in capsys.readouterr().err


def test_one_by_one_is_one_sequence_a_forward_pass():
    lm = build("llama", max_row_tokens=1000)
    single = replace(lm, batching="single")
    shapes = []
    handle = lm.model.register_forward_pre_hook(
        lambda m, args, inputs: shapes.append((inputs["input_ids"].shape[0], inputs.get("attention_mask"))),
        with_kwargs=True,
    )
    items = [("Q: one?\nA:", [" 1", " 22"]), ("Q: two, longer?\nA:", [" 3"])]
    scores = score_answers(single, items)
    assert [rows for rows, _ in shapes] == [1, 1, 1]
    lines = generate_lines(single, [prompt for prompt, _ in items], 3)
    assert all(rows == 1 for rows, _ in shapes)
    handle.remove()
    assert lines == generate_lines(lm, [prompt for prompt, _ in items], 3)
    flat = [torch.tensor([value for item in found for value in item]) for found in (scores, score_answers(lm, items))]
    torch.testing.assert_close(*flat, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "model",
    [
        t.BertLMHeadModel(t.BertConfig(**SHAPE, intermediate_size=48)),
        t.ElectraForCausalLM(t.ElectraConfig(**SHAPE, intermediate_size=48, embedding_size=32)),
        t.XLMWithLMHeadModel(t.XLMConfig(vocab_size=VOCABULARY, emb_dim=32, n_layers=2, n_heads=4)),
        t.Gemma3ForCausalLM(t.Gemma3TextConfig(**WIDE, use_bidirectional_attention=True)),
    ],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_model_that_sees_the_future_is_refused(model, dtype):
    lm = headless(model.to(dtype))
    with pytest.raises(UserError, match="sees later tokens"):
        choose_batching(lm)


def test_a_bert_that_is_a_decoder_packs():
    model = t.BertLMHeadModel(t.BertConfig(**SHAPE, intermediate_size=48, is_decoder=True))
    assert choose_batching(headless(model)) == "packed"


@pytest.mark.parametrize(
    "settings",
    [
        {"prefix_dense_sliding_window_pattern": 1},
        {"max_window_layers": 600, "num_local_experts": 600},
        {"attention_window": 100},
        {"window": None, "use_window": True},
    ],
)
def test_a_setting_that_only_sounds_like_a_window_costs_nothing(settings):
    assert choose_batching(build("llama", **settings)) == "packed"


def test_a_window_of_another_name_that_no_probe_reaches_is_not_trusted():
    lm = build("llama", attention_window=100_000)
    assert foreign_windows(lm) == [100_000]
    assert choose_batching(lm) == "padded"


@pytest.mark.parametrize("window", [50, 200])
def test_a_local_window_is_reached_whatever_it_is_called(window, monkeypatch):
    lm = build_language_model("gpt_neo", max_row_tokens=128, window_size=window)
    assert make_probe(lm).reach > window
    monkeypatch.setattr(packing_check, "_takes_masks", lambda *args: True)
    assert choose_batching(lm) == "padded"


def test_out_of_memory_is_no_answer(monkeypatch):
    def fail(*args):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(packing_check, "_packed", fail)
    with pytest.raises(torch.OutOfMemoryError):
        choose_batching(build("llama"))


def test_padded_batches_ask_for_the_answers_logits_only():
    lm = build("llama")
    kept = []
    lm.model.register_forward_pre_hook(
        lambda m, args, inputs: kept.append(inputs["logits_to_keep"].tolist()), with_kwargs=True
    )
    padded_token_logprobs(lm, [TokenSequence((5, 6, 7, 8, 9), 3), TokenSequence((5, 6, 7), 2)])
    assert kept == [[1, 2, 3]]


@pytest.mark.parametrize(("family", "name"), [("llama", "max_position_embeddings"), ("mpt", "max_seq_len")])
def test_the_number_of_positions_is_known_whatever_it_is_called(family, name):
    assert headless(build_model(family, **{name: 77})).max_positions == 77


def test_eager_rows_fit_the_memory():
    config = t.GptOssConfig(num_hidden_layers=24, num_attention_heads=64)
    tokens = eager_row_tokens(config, 30 * 2**30)
    assert 24 * 64 * 12 * tokens**2 <= 30 * 2**30 < 24 * 64 * 12 * (tokens + 1) ** 2
    assert eager_row_tokens(config, 0) == 256
