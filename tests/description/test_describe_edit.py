"""Every kind of edit is described in the same way, and leaves the model as it was."""

import json
from dataclasses import asdict

import pytest
import torch
from describing import ABOUT, SMALL, TEXTS, plain_states, read_texts
from making import make
from tiny_models import build_language_model

from lofit_cli.description.describe_edit import Basis, describe_edit
from lofit_cli.description.words import Words
from lofit_cli.models.weights import weights_hash

METHODS = ("lofit", "iti", "lora", "loreft", "red", "repe", "bitfit", "full", "icl", "dola", "prompt")


@pytest.mark.parametrize("name", METHODS)
def test_an_edit_of_any_kind_is_described_and_leaves_nothing_behind(name, tmp_path):
    lm = build_language_model("llama")
    edit = make(name, lm, tmp_path)
    tokens = read_texts(lm).tokens[0]
    before, states = weights_hash(lm.model), plain_states(lm, tokens)
    basis = Basis(lm, read_texts(lm), Words(lm.tokenizer, {"a", "e"}), 1, SMALL)
    found, delta = describe_edit(basis, edit, ABOUT)
    assert json.loads(json.dumps(asdict(found), allow_nan=False))["label"] == ABOUT.label
    assert delta.shape == (5, lm.hidden_size)
    norms = [[lengths[position] for position in (1, 2, 3, 4)] for lengths in found.norms]
    assert found.layer_norms == pytest.approx([sum(lengths) / 4 for lengths in norms])
    shares = found.shift.unshifted, found.shift.marginal, found.shift.shifted
    assert sum(shares) == pytest.approx(1)
    assert found.mining.tokens
    if name != "dola":
        assert delta.norm() > 0
        assert found.lens.raised
        own = sum(token.text.strip().lower() in ("a", "e") for token in found.lens.raised)
        assert found.answer_shares["lens"] == own / len(found.lens.raised)
    assert [(head.layer, head.head) for head in found.offsets] == (
        [] if name not in ("lofit", "iti", "red") else edit.heads
    )
    assert weights_hash(lm.model) == before
    for after, expected in zip(plain_states(lm, tokens), states, strict=True):
        assert torch.equal(after, expected)


def test_without_training_answers_nothing_is_said_of_them(tmp_path):
    lm = build_language_model("llama")
    found, _ = describe_edit(Basis(lm, read_texts(lm, TEXTS), None, 1, SMALL), make("lofit", lm, tmp_path), ABOUT)
    assert found.answer_shares == {}
    assert not any(token.in_answers for token in found.lens.raised)
