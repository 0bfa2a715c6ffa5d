"""Proxy-tuning against the sum of three logit arrays in NumPy, and what must come of it at strengths 0 and 1."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from making import make
from tiny_models import EACH_FAMILY, build_language_model, edit_all_heads, random_values

from lofit_cli.errors import UserError
from lofit_cli.interventions.files import load_intervention_file
from lofit_cli.interventions.proxy_edit import ProxyEdit
from lofit_cli.methods import METHODS
from lofit_cli.models.forward import choose_tail
from lofit_cli.models.generation import generate_texts
from lofit_cli.models.logprobs import answer_logprobs, score_answers
from lofit_cli.models.packing import TokenSequence
from lofit_cli.schema.sources import ModelConfig

SEQUENCES = [TokenSequence((*range(3, 12), 40, last), 9) for last in (41, 50)]
ITEMS = [(f"Some lines that every prompt begins with.\nQ: {i}?\nA:", [" the number", " No"]) for i in range(3)]


@pytest.fixture(params=EACH_FAMILY)
def models(request):
    """Return a model, a smaller one of the same family, and an edit of the smaller one."""
    small = build_language_model(request.param)
    torch.manual_seed(1)
    large = build_language_model(request.param)
    for weight in large.model.parameters():
        weight.data.mul_(1.1)
    return large, small, edit_all_heads(random_values(small.geometry, 1), random_values(small.geometry, 2))


def logits(lm, tokens, edit=None):
    with torch.no_grad():
        if edit is None:
            return lm.model(input_ids=torch.tensor([tokens])).logits[0].double().numpy()
        with edit.attach(lm):
            return lm.model(input_ids=torch.tensor([tokens])).logits[0].double().numpy()


def log_softmax(values):
    values = values - values.max(axis=-1, keepdims=True)
    return values - np.log(np.exp(values).sum(axis=-1, keepdims=True))


def proxy(models, alpha):
    _, small, edit = models
    return ProxyEdit(edit, small, ModelConfig("small"), alpha)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.7])
def test_scores_are_those_of_the_sum_of_three_logits(models, alpha):
    large, small, edit = models
    with proxy(models, alpha).attach(large), torch.no_grad():
        found = answer_logprobs(large, SEQUENCES).tolist()
    for score, sequence in zip(found, SEQUENCES, strict=True):
        own, plain, tuned = (logits(*which) for which in (
            (large, sequence.tokens), (small, sequence.tokens), (small, sequence.tokens, edit)))  # fmt: skip
        log_probs = log_softmax(own + alpha * (tuned - plain))
        expected = sum(log_probs[i - 1, sequence.tokens[i]] for i in range(sequence.start, len(sequence.tokens)))
        assert score == pytest.approx(expected, abs=1e-5)


def test_a_shared_beginning_and_padded_rows_give_the_same(models):
    large = models[0]
    padded = build_language_model(large.id, "padded")
    padded.model.load_state_dict(large.model.state_dict())
    with proxy(models, 1.0).attach(large):
        packed_scores = torch.tensor(score_answers(large, ITEMS))
    with proxy(models, 1.0).attach(padded):
        torch.testing.assert_close(torch.tensor(score_answers(padded, ITEMS)), packed_scores, atol=1e-4, rtol=0)


def test_text_is_that_of_a_plain_loop_without_caches(models):
    large, small, edit = models
    (prompt,) = large.encode(["Q: Which number is this one?\nA:"])
    tokens = list(prompt.tokens)
    for _ in range(5):
        total = logits(large, tokens) + 2.0 * (logits(small, tokens, edit) - logits(small, tokens))
        tokens.append(int(total[-1].argmax()))
    with proxy(models, 2.0).attach(large):
        (text,) = generate_texts(large, ["Q: Which number is this one?\nA:"], 5)
    said = tokens[len(prompt.tokens) :]
    ended = next((i for i, token in enumerate(said) if token in large.end_tokens), len(said))
    assert text == large.tokenizer.decode(said[:ended])


def test_a_model_that_is_its_own_proxy_is_the_source_run_at_1_and_itself_at_0(models):
    _, small, edit = models
    with edit.attach(small):
        tuned = torch.tensor(score_answers(small, ITEMS))
    base = torch.tensor(score_answers(small, ITEMS))
    for alpha, expected in ((1.0, tuned), (0.0, base)):
        with ProxyEdit(edit, None, ModelConfig("small"), alpha).attach(small):
            found = torch.tensor(score_answers(small, ITEMS))
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_it_is_saved_with_the_experts_numbers(tmp_path):
    lm = build_language_model("llama")
    edit = make("proxy", lm, tmp_path, alphas=[1.5])
    loaded = load_intervention_file(tmp_path / "proxy", lm)
    assert (loaded.alpha, loaded.proxy) == (1.5, None)
    assert loaded.expert.offset.equal(edit.expert.offset)


def test_a_proxy_with_other_tokens_is_refused():
    large, small = build_language_model("llama"), build_language_model("gpt2")
    small.tokenizer.add_tokens(["another"])
    edit = edit_all_heads(random_values(small.geometry, 1))
    with (
        pytest.raises(UserError, match="model 'gpt2', which has another tokenizer than 'llama'"),
        ProxyEdit(edit, small, ModelConfig("small"), 1.0).attach(large),
    ):
        pass


SOURCES = [(name, {}) for name in METHODS if name != "random_offset"]
SOURCES += [("repe", {"vector": "contrast", "alphas": [5.0]}), ("prompt", {"rank": 2})]
BEFORE, BESIDE = "stands before every text", "has forward passes of its own"
NO_SOURCES = {"icl": BEFORE, "prefix": BEFORE, "prompt": BEFORE, "proxy": BESIDE, "dola": "makes scores of its own"}


@pytest.mark.parametrize(("name", "settings"), SOURCES, ids=str)
def test_every_methods_run_is_itself_as_its_own_proxy_or_refused(name, settings, tmp_path):
    lm = build_language_model("llama")
    source = make(name, lm, tmp_path, **settings)
    if name in NO_SOURCES or "vector" in settings:
        (tmp_path / "again").mkdir()
        with pytest.raises(UserError, match=f"is a run of {name}, which {NO_SOURCES.get(name, BESIDE)}"):
            make("proxy", lm, tmp_path / "again", source=str(tmp_path / name))
        return
    made = make("proxy", lm, tmp_path, source=str(tmp_path / name), alphas=[1.0])
    found = []
    for edit in (source, made):
        with edit.attach(lm):
            found.append(torch.tensor(score_answers(lm, ITEMS)))
    torch.testing.assert_close(found[1], found[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("wide", ["model", "proxy"])
def test_models_of_a_family_whose_vocabularies_are_padded_to_other_sizes_share_their_tokens(wide):
    large, small = build_language_model("llama"), build_language_model("llama")
    edit, padded = edit_all_heads(random_values(small.geometry, 1)), large if wide == "model" else small
    padded.model.resize_token_embeddings(padded.model.config.vocab_size + 7)
    large, small = (replace(lm, tail=choose_tail(lm)) for lm in (large, small))
    with ProxyEdit(edit, small, ModelConfig("small"), 2.0).attach(large), torch.no_grad():
        found = answer_logprobs(large, SEQUENCES).tolist()
    for score, sequence in zip(found, SEQUENCES, strict=True):
        own, plain, tuned = (
            logits(lm, sequence.tokens, acting) for lm, acting in ((large, None), (small, None), (small, edit))
        )
        size = min(own.shape[-1], plain.shape[-1])
        own[:, :size] += 2.0 * (tuned - plain)[:, :size]
        log_probs = log_softmax(own)
        expected = sum(log_probs[i - 1, sequence.tokens[i]] for i in range(sequence.start, len(sequence.tokens)))
        assert score == pytest.approx(expected, abs=1e-5)


def test_the_proxy_of_a_run_on_a_split_model_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "lofit_cli.methods.proxy.settings_of_model", lambda *of_run: ModelConfig("m", device="cpu", tp="auto")
    )
    edit = make("proxy", build_language_model("llama"), tmp_path, alphas=[1.0])
    assert (edit.proxy, edit.model.tp) == (None, None)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_proxy_with_fewer_positions_than_a_text_has_tokens_is_refused(family):
    key = "n_positions" if family == "gpt2" else "max_position_embeddings"
    large, small = build_language_model(family), build_language_model(family, **{key: 9})
    edit = edit_all_heads(random_values(small.geometry, 1))
    with (
        ProxyEdit(edit, small, ModelConfig("small"), 1.0).attach(large),
        pytest.raises(
            UserError, match=f"model '{family}' is run beside on 10 tokens, and has positions for 9; shorten"
        ),
    ):
        answer_logprobs(large, SEQUENCES)


def test_a_window_of_all_layers_is_not_that_of_some():
    full, sliding = "full_attention", "sliding_attention"
    large, small = (
        build_language_model("gemma3", sliding_window=8, layer_types=kinds)
        for kinds in ([sliding] * 3, [sliding, full, sliding])
    )
    edit = edit_all_heads(random_values(small.geometry, 1))
    for one, other in ((large, small), (small, large)):
        with (
            ProxyEdit(edit, other, ModelConfig("small"), 1.0).attach(one),
            pytest.raises(UserError, match="look back 10 tokens through different attention windows"),
        ):
            answer_logprobs(one, SEQUENCES)
