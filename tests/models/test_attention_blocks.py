"""Attention in blocks against attention of the whole row."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import EACH_FAMILY, build_language_model, edit_all_heads, random_values
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from lofit_cli.models import attention_blocks
from lofit_cli.models.attention_blocks import attended_in_blocks, seen_keys
from lofit_cli.models.logprobs import answer_logprobs, score_answers, tokenize
from lofit_cli.models.packing import TokenSequence, pack_row

ITEMS = [
    ("Q: which number is it?\nA:", [" the number 7", " the answer", " 8"]),
    ("Q: and what else, of the others?\nA:", [" No", " the the the"]),
    ("Q: which number is the last?\nA:", [" 9", " none of them"]),
]
SIZE = 5


@pytest.fixture
def in_blocks(monkeypatch):
    """Let a block have a few tokens from now on, and count the calls of the kernel."""
    calls = []
    whole = ALL_ATTENTION_FUNCTIONS["sdpa"]

    def count(module, query, *args, **how):
        calls.append(query.shape[2])
        return whole(module, query, *args, **how)

    def begin():
        monkeypatch.setattr(attention_blocks, "BLOCK_TOKENS", SIZE)
        monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._local_mapping, "sdpa", count)
        return calls

    return begin


def values_and_gradient(lm):
    sequences = [sequence for item in tokenize(lm, ITEMS) for sequence in item]
    edit = edit_all_heads(random_values(lm.geometry, 1), random_values(lm.geometry, 2))
    with edit.attach(lm):
        values = answer_logprobs(lm, sequences)
        (values * torch.arange(1, len(values) + 1)).sum().backward()
    return [values.detach(), *(parameter.grad for parameter in edit.parameters())]


@pytest.mark.parametrize("family", EACH_FAMILY)
def test_numbers_and_gradients_are_those_of_the_whole_row(family, in_blocks):
    lm = build_language_model(family)
    expected, calls = values_and_gradient(lm), in_blocks()
    for found, other in zip(values_and_gradient(lm), expected, strict=True):
        assert float((found - other).norm() / other.norm()) < 1e-5
    uses_the_kernel = lm.model.config._attn_implementation == "sdpa"
    assert bool(calls) == uses_the_kernel
    assert max(calls, default=0) <= SIZE


@pytest.mark.parametrize(("family", "window"), [("mistral", 8), ("gemma3", 8), ("gemma2", 8)])
def test_windows_end_where_they_end_in_the_whole_row(family, window, in_blocks):
    lm = build_language_model(family, sliding_window=window)
    expected = values_and_gradient(lm)
    wide = values_and_gradient(build_language_model(family, sliding_window=4096))
    assert not torch.allclose(expected[0], wide[0], atol=1e-3)
    in_blocks()
    torch.testing.assert_close(values_and_gradient(lm)[0], expected[0], rtol=0, atol=1e-5)


def test_a_cached_beginning_is_seen_by_each_block(in_blocks):
    lm = build_language_model("llama")
    items = [("Q: how many? A: the number is 7.\n" * 4 + prompt, answers) for prompt, answers in ITEMS]
    expected, calls = score_answers(lm, items), in_blocks()
    for found, other in zip(score_answers(lm, items), expected, strict=True):
        assert found == pytest.approx(other, rel=1e-6, abs=1e-5)
    assert min(calls) < SIZE + 1


def test_what_is_asked_without_a_row_is_computed_as_it_was(in_blocks):
    lm = build_language_model("llama")
    tokens = torch.arange(20)[None]
    expected, calls = lm.model(tokens).logits, in_blocks()
    mask = torch.zeros(1, 1, 20, 20)
    with attended_in_blocks([mask], seen_keys(list(range(-1, 19)), 0, SIZE), SIZE):
        assert lm.model(tokens).logits.equal(expected)
    assert set(calls) == {20}


def test_one_inside_another_leaves_the_outer_one_as_it_was():
    before, seen = ALL_ATTENTION_FUNCTIONS["sdpa"], seen_keys([-1, 0, 1], 0, 2)
    masks = [torch.zeros(1, 1, 3, 3) for _ in range(2)]
    with attended_in_blocks(masks[:1], seen, 2):
        outer = ALL_ATTENTION_FUNCTIONS["sdpa"]
        with pytest.raises(KeyError), attended_in_blocks(masks[1:], seen, 2):
            raise KeyError
        assert ALL_ATTENTION_FUNCTIONS["sdpa"] is outer
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is before


TOKENS = st.lists(st.integers(0, 3), min_size=2, max_size=12).map(tuple)


@given(st.lists(TOKENS, min_size=1, max_size=6), st.integers(1, 6), st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_a_block_has_the_keys_that_its_tokens_see_and_no_others(texts, size, prefix_length):
    row = pack_row([TokenSequence(text, max(1, len(text) - 2)) for text in texts])
    visible = row.visible()
    for number, keys in enumerate(seen_keys(row.parents, prefix_length, size)):
        expected = visible[number * size : (number + 1) * size].any(dim=0).nonzero().flatten() + prefix_length
        assert keys.tolist() == [*range(prefix_length), *expected.tolist()]
