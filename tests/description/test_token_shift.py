"""Greedy continuations ranked under the model as it is, against a plain loop without caches and NumPy."""

import numpy as np
import pytest
import torch
from chat_models import build_chat_model
from describing import TEXTS, read_texts, silent
from exporting import EDITS, load
from scipy.special import log_softmax
from tiny_checkpoints import build_checkpoint
from tiny_models import build_language_model

from lofit_cli.description.token_shift import measure_shift
from lofit_cli.interventions.demonstrations import Demonstrations
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.prompts import Turn

NUM_NEW = 6


def logits_after(lm, tokens):
    row = torch.tensor([tokens])
    with torch.no_grad(), lm.token_positions.padded([1], row):
        return lm.model(input_ids=row, use_cache=False).logits[0, -1].double().numpy()


def plain_loop(lm, edit, tokens):
    """Yield each token that the edited model says, its rank under the model as it is, and the divergence there."""
    for _ in range(NUM_NEW):
        base = log_softmax(logits_after(lm, tokens))
        with edit.attach(lm):
            own = log_softmax(logits_after(lm, tokens))
        said = int(own.argmax())
        yield said, 1 + int(np.sum(base > base[said])), float(np.sum(np.exp(own) * (own - base)))
        tokens = [*tokens, said]


@pytest.mark.parametrize("name", ["direction", "lora", "offset"])
def test_against_a_plain_loop(name, tmp_path):
    build_checkpoint("llama", tmp_path)
    lm = load(tmp_path)
    lm.tokenizer.eos_token = None
    lm.model.generation_config.eos_token_id = None
    edit = EDITS[name](lm)
    said = [list(plain_loop(lm, edit, tokens)) for tokens in read_texts(lm).tokens[:3]]
    found = measure_shift(lm, edit, read_texts(lm), 3, NUM_NEW, silent)
    ranks = [rank for text in said for _, rank, _ in text]
    assert found.num_tokens == len(ranks) == 3 * NUM_NEW
    assert found.unshifted == pytest.approx(np.mean([rank == 1 for rank in ranks]))
    assert found.marginal == pytest.approx(np.mean([rank in (2, 3) for rank in ranks]))
    assert found.shifted == pytest.approx(np.mean([rank > 3 for rank in ranks]))
    assert 0 < found.shifted < 1
    assert found.kl == pytest.approx([np.mean([text[i][2] for text in said]) for i in range(NUM_NEW)], rel=1e-3)
    assert found.num_texts == [3] * NUM_NEW
    assert found.mean_kl == pytest.approx(np.mean(found.kl))
    counts = {}
    for token, rank, _ in (step for text in said for step in text):
        if rank > 3:
            counts.setdefault(token, []).append(rank)
    assert {token.id: (token.count, token.median_rank) for token in found.tokens} == {
        token: (len(at), np.median(at)) for token, at in counts.items()
    }


def test_without_an_edit_no_token_is_shifted():
    lm = build_language_model("llama")
    found = measure_shift(lm, Demonstrations(), read_texts(lm), 4, NUM_NEW, silent)
    assert (found.unshifted, found.marginal, found.shifted) == (1, 0, 0)
    assert set(found.kl) == {0}
    assert found.tokens == []


def test_the_token_that_ends_a_turn_is_one_of_those_said(monkeypatch):
    lm = build_language_model("llama")
    tokens = read_texts(lm).tokens[0]
    (end, *_), *_ = plain_loop(lm, Demonstrations(), tokens)
    monkeypatch.setattr(LanguageModel, "end_tokens", [end])
    found = measure_shift(lm, Demonstrations(), read_texts(lm, TEXTS[:1]), 1, NUM_NEW, silent)
    assert (found.num_tokens, found.num_texts) == (1, [1])


def test_a_chat_model_is_asked_in_turns():
    lm = build_chat_model("qwen3")
    asked = lm.encode([lm.chat.prompt_text([Turn("user", TEXTS[0])])])[0].tokens
    edit = EDITS["offset"](lm)
    found = measure_shift(lm, edit, read_texts(lm, TEXTS[:1]), 1, 1, silent)
    ((_, rank, divergence),) = list(plain_loop(lm, edit, asked))[:1]
    assert found.kl == pytest.approx([divergence], rel=1e-3)
    assert found.unshifted == float(rank == 1)
