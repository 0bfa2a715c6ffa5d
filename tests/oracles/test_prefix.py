"""Prefix tuning beside peft's: the same log-probabilities and gradients, where keys are rotated as the model does."""

import pytest
import torch
from making import REFUSED, make
from peft_prompts import peft_scores
from tiny_models import FAMILIES, build_language_model

from lofit_cli.errors import UserError
from lofit_cli.interventions.prefix_edit import PrefixEdit
from lofit_cli.models.generation import generate_lines
from lofit_cli.models.key_maps import find_key_maps
from lofit_cli.models.logprobs import answer_logprobs, score_answers
from lofit_cli.models.packing import TokenSequence

NUM = 4
SEQUENCES = [TokenSequence((*range(3, 12), 40, last), 9) for last in (41, 50)]
FUSED = REFUSED["prefix"]
PLAIN_KEYS = ("llama", "mistral", "qwen2", "opt")
"""Families that put no norm on keys; all but OPT rotate them."""


def prefix(lm):
    generator = torch.Generator().manual_seed(0)
    widths = [[module.out_features for module in maps] for maps in zip(*find_key_maps(lm), strict=True)]
    return PrefixEdit(*([torch.randn(NUM, width, generator=generator) for width in kind] for kind in widths))


def ours(lm, edit):
    with edit.attach(lm):
        return answer_logprobs(lm, [sequence.after(lm.beginning) for sequence in SEQUENCES])


def rotated(model, keys):
    """Return keys (NUM, width) as the attention of the first places gets them."""
    rotary = getattr(model.model, "rotary_emb", None)
    if rotary is None:
        return keys
    by_head = keys.view(NUM, model.config.num_key_value_heads, -1)
    cos, sin = (part[0, :, None] for part in rotary(keys[None], torch.arange(NUM)[None]))
    first, second = by_head.chunk(2, dim=-1)
    return (by_head * cos + torch.cat([-second, first], dim=-1) * sin).flatten(1)


@pytest.mark.parametrize("family", PLAIN_KEYS)
@pytest.mark.parametrize("batching", ["packed", "padded"])
def test_log_probabilities_and_gradients_are_pefts(family, batching):
    import peft

    lm = build_language_model(family, batching)
    edit = prefix(lm)
    found = ours(lm, edit)
    found.sum().backward()
    other = build_language_model(family).model
    turned = [rotated(other, keys) for keys in edit.keys]
    tuned = peft.get_peft_model(other, peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=NUM))
    weight = tuned.prompt_encoder.default.embedding.weight
    pairs = [part.detach() for pair in zip(turned, edit.values, strict=True) for part in pair]
    weight.data.copy_(torch.cat(pairs, dim=1))
    expected = peft_scores(tuned, SEQUENCES)
    expected.sum().backward()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    grads = weight.grad.split([part.shape[1] for part in pairs], dim=1)
    for own, keys, grad in zip(edit.keys, turned, grads[::2], strict=True):
        (back,) = torch.autograd.grad(keys, own, grad)
        torch.testing.assert_close(own.grad, back, atol=1e-5, rtol=1e-4)
    for own, grad in zip(edit.values, grads[1::2], strict=True):
        torch.testing.assert_close(own.grad, grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_the_models_own_keys_and_values_are_its_own_tokens(family):
    """A prefix that holds what the model makes of some tokens is these tokens before the text."""
    from lofit_cli.methods.prefix import _keys_and_values

    lm = build_language_model(family)
    tokens = [20, 21, 22, 23]
    with torch.no_grad():
        found = ours(lm, PrefixEdit(*_keys_and_values(lm, tokens)))
        with lm.begun(tokens):
            expected = answer_logprobs(lm, [sequence.after(lm.beginning) for sequence in SEQUENCES])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FUSED)
def test_models_with_one_map_for_both_are_refused(family, tmp_path):
    lm = build_language_model(family)
    with pytest.raises(UserError, match=r"maps of their own for keys .* choose another model, or method=prompt"):
        make("prefix", lm, tmp_path)


def test_layers_that_share_their_keys_are_refused(tmp_path):
    kinds = ["sliding_attention", "full_attention"] * 2
    shared = {"num_hidden_layers": 4, "layer_types": kinds, "num_kv_shared_layers": 2}
    lm = build_language_model("gemma3n", "padded", **shared, activation_sparsity_pattern=[0.0] * 4)
    with pytest.raises(UserError, match="layers without maps of their own for keys and for values"):
        make("prefix", lm, tmp_path)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in FUSED])
def test_what_is_generated_is_the_likeliest_text_in_any_batch(family):
    lm = build_language_model(family)
    prompts = ["Q: Which number is this one?\nA:", "A longer beginning. Q: x?\nA:"]
    with prefix(lm).attach(lm):
        together = generate_lines(lm, prompts, 5)
        assert together == [generate_lines(lm, [prompt], 5)[0] for prompt in prompts]
        items = [
            (prompt, [" the number", f" {text}" if text else " No"])
            for prompt, text in zip(prompts, together, strict=True)
        ]
        packed = torch.tensor(score_answers(lm, items))
    padded = build_language_model(family, "padded")
    with prefix(padded).attach(padded):
        torch.testing.assert_close(torch.tensor(score_answers(padded, items)), packed, atol=1e-4, rtol=0)


def test_it_starts_as_tokens_of_the_training_prompts_and_learns(tmp_path):
    lm = build_language_model("llama")
    start = make("prefix", lm, tmp_path / "a", rate=1e-9)
    learnt = make("prefix", lm, tmp_path / "b", rate=0.1)
    assert all((one - other).abs().max() > 1e-2 for one, other in zip(start.values, learnt.values, strict=True))
    assert start.num_parameters == 3 * 2 * 3 * 16
