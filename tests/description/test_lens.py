"""Differences read as tokens, against the model's own weights and its unpatched logits."""

import numpy as np
import pytest
import torch
from describing import plain_states, read_texts
from scipy.special import softmax
from tiny_models import build_language_model

from lofit_cli.description.lens import patched_logits, read_lens, read_patchscope
from lofit_cli.description.words import Words

PROMPTS = (
    "man -> man\n1135 -> 1135\nhello -> hello\n?",
    "bear -> bear\n42 -> 42\nblue -> blue\n?",
    "921 -> 921\ntarget -> target\nanna -> anna\n?",
)
"""Those of the diffing-toolkit of arXiv 2510.13900."""


def words_of(lm):
    return Words(lm.tokenizer, ())


def random_delta(lm, size=1.0):
    return size * torch.randn(lm.hidden_size, generator=torch.Generator().manual_seed(3))


def rms_norm(x, weight, eps):
    return x / np.sqrt(np.mean(x**2) + eps) * weight


def normed(lm, family, x):
    """Return what the family's last norm makes of a vector."""
    if family == "gpt2":
        norm = lm.model.transformer.ln_f
        weight, bias = norm.weight.double().numpy(), norm.bias.double().numpy()
        return (x - x.mean()) / np.sqrt(x.var() + norm.eps) * weight + bias
    weight = lm.model.model.norm.weight.double().numpy()
    return rms_norm(x, 1 + weight if family == "gemma2" else weight, lm.model.config.rms_norm_eps)


@pytest.mark.parametrize("size", [1.0, 50.0])
@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_a_lens_is_the_unembedding_of_the_normed_difference(family, size):
    lm = build_language_model(family)
    if family == "gpt2":
        torch.nn.init.normal_(lm.model.transformer.ln_f.bias)
    delta = random_delta(lm, size)
    weight = lm.model.get_output_embeddings().weight.double().numpy()
    logits = weight @ normed(lm, family, delta.double().numpy())
    found = read_lens(lm, delta, 3, words_of(lm))
    assert found.position == 3
    for tokens, expected in ((found.raised, softmax(logits)), (found.lowered, softmax(-logits))):
        assert [token.id for token in tokens] == np.argsort(-expected)[:20].tolist()
        assert [token.value for token in tokens] == pytest.approx(np.sort(expected)[::-1][:20], rel=1e-3)
        assert [token.text for token in tokens] == [lm.tokenizer.decode([token.id]) for token in tokens]


def test_nothing_is_read_where_nothing_changes():
    lm = build_language_model("llama")
    nothing = torch.zeros(lm.hidden_size)
    found = read_lens(lm, nothing, None, words_of(lm))
    assert (found.raised, found.lowered) == ([], [])
    assert read_patchscope(lm, nothing, 1.0, 1, [1.0], 10, words_of(lm)) == []


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_a_token_s_own_state_as_a_patch_gives_the_logits_of_no_patch(family):
    lm = build_language_model(family)
    tokens = read_texts(lm).tokens[0]
    states, logits = plain_states(lm, tokens)
    torch.testing.assert_close(patched_logits(lm, tokens, 1, states[1, -1]), logits[-1], atol=1e-5, rtol=1e-5)
    moved = patched_logits(lm, tokens, 1, states[1, -1] + random_delta(lm))
    assert (moved - logits[-1]).abs().max() > 1e-2


def test_the_patchscope_is_a_mean_over_prompts_of_what_all_of_them_find_likely():
    lm = build_language_model("llama")
    delta, unit, top_k = random_delta(lm), 7.0, 40
    for strength in (0.5, 4.0):
        found = []
        for prompt in PROMPTS:
            tokens = torch.tensor([lm.tokenizer(prompt)["input_ids"]])

            def put(module, args, output, strength=strength):
                output[:, -1] = strength * unit * delta / delta.norm()

            handle = lm.model.model.layers[1].register_forward_hook(put)
            found.append(lm.model(input_ids=tokens).logits[0, -1].softmax(dim=-1).numpy())
            handle.remove()
        shared = set.intersection(*({*np.argsort(-each)[:top_k].tolist()} for each in found))
        mean = np.mean(found, axis=0)
        (reading,) = read_patchscope(lm, delta, unit, 1, [strength], top_k, words_of(lm))
        assert (reading.strength, reading.num_shared) == (strength, len(shared))
        assert [t.id for t in reading.tokens] == sorted(shared, key=lambda token: -mean[token])[:20]
        assert [t.value for t in reading.tokens] == pytest.approx([mean[t.id] for t in reading.tokens], rel=1e-4)


def test_the_patch_has_the_length_of_a_usual_state_whatever_the_difference_has():
    lm = build_language_model("llama")
    small, large = (read_patchscope(lm, random_delta(lm, s), 5.0, 1, [2.0], 10, words_of(lm))[0] for s in (0.1, 10.0))
    assert [token.id for token in small.tokens] == [token.id for token in large.tokens]
