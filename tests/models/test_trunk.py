"""Rows that begin above the frozen layers against whole rows, and against what each model says of it."""

import pytest
import torch
from tiny_models import EACH_FAMILY, build_language_model, edit_all_heads, random_values

from lofit_cli.models.forward import packed_token_logprobs
from lofit_cli.models.logprobs import score_answers, tokenize
from lofit_cli.models.trunk import Trunk
from lofit_cli.models.trunk_rows import fill_trunk, open_trunk

ITEMS = [
    ("Q: which number is it?\nA:", [" the number 7", " the answer", " 8"]),
    ("Q: and what else, of the others?\nA:", [" No", " the the the"]),
    ("Q: which number is the last?\nA:", [" 9", " none of them"]),
]
ROWS = [(0, 1, 2), (2, 0), (1,), (2, 1, 0)]


def rows_of(lm):
    tokenized = tokenize(lm, ITEMS)
    return [[sequence for number in row for sequence in tokenized[number]] for row in ROWS]


def values_and_gradients(lm, edit, trunk):
    """Return, for each row, its answers' tokens' log-probabilities and the gradient of their sum."""
    found = []
    with edit.attach(lm), lm.keeping(trunk):
        for row in rows_of(lm):
            values = packed_token_logprobs(lm, row, None)
            (gradient,) = torch.autograd.grad(values.sum(), edit.offset)
            found.append((values.detach(), gradient))
    return found


@pytest.mark.parametrize("family", EACH_FAMILY)
def test_rows_that_begin_above_the_trunk_give_what_whole_rows_give(family):
    lm = build_language_model(family)
    edit = edit_all_heads(offset=random_values(lm.geometry, 1), layers=[2])
    trunk = open_trunk(lm, edit.num_untouched_layers())
    for row in rows_of(lm):
        fill_trunk(lm, trunk, row)
    whole, above = (values_and_gradients(lm, edit, kept) for kept in (None, trunk))
    for (values, gradient), (from_above, gradient_from_above) in zip(whole, above, strict=True):
        torch.testing.assert_close(from_above, values, rtol=0, atol=1e-5)
        torch.testing.assert_close(gradient_from_above, gradient, rtol=1e-4, atol=1e-5)


def test_what_is_known_is_not_computed_again_and_no_more_is_computed_to_know_it():
    lm = build_language_model("llama")
    passed = []
    for number, layer in enumerate(lm.layers):
        layer.self_attn.register_forward_hook(lambda *_, number=number: passed.append(number))
    trunk = open_trunk(lm, 2)
    passed.clear()
    first, *others = rows_of(lm)
    fill_trunk(lm, trunk, first)
    assert passed == [0, 1]
    with torch.no_grad(), lm.keeping(trunk):
        for row in others:
            packed_token_logprobs(lm, row, None)
    assert passed == [0, 1, 2, 2, 2]
    with torch.no_grad():
        packed_token_logprobs(lm, first, None)
    assert passed == [0, 1, 2, 2, 2, 0, 1, 2]


def test_rows_behind_a_shared_beginning_begin_above_the_trunk_too():
    lm = build_language_model("llama")
    primer = "Q: how many? A: the number is 7.\n" * 4
    items = [(primer + prompt, answers) for prompt, answers in ITEMS]
    edit = edit_all_heads(offset=random_values(lm.geometry, 1), layers=[1, 2])
    trunk = open_trunk(lm, edit.num_untouched_layers())
    with edit.attach(lm):
        whole = score_answers(lm, items)
        with lm.keeping(trunk):
            filled, above = score_answers(lm, items), score_answers(lm, items)
    assert whole == filled == above


def test_what_is_kept_while_measuring_can_be_trained_on():
    lm = build_language_model("llama")
    edit = edit_all_heads(offset=random_values(lm.geometry, 1), layers=[2])
    trunk = open_trunk(lm, 2)
    with torch.inference_mode(), lm.keeping(trunk):
        for row in rows_of(lm):
            packed_token_logprobs(lm, row, None)
    assert all(gradient.any() for _, gradient in values_and_gradients(lm, edit, trunk))


def test_what_there_is_no_room_for_is_computed_again():
    lm = build_language_model("llama")
    edit = edit_all_heads(offset=random_values(lm.geometry, 1), layers=[2])
    size = sum(len(sequence.tokens) for sequence in rows_of(lm)[0]) * lm.hidden_size * 4
    for room in (0, size):
        kept = values_and_gradients(lm, edit, Trunk(lm.layers[:2], room))
        for (values, _), (whole, _) in zip(kept, values_and_gradients(lm, edit, None), strict=True):
            torch.testing.assert_close(values, whole, rtol=0, atol=1e-5)


def leave_behind(lm, how):
    """Let the last layer need what the first one has computed, past the hidden states."""
    left = []

    def leave(module, args, output):
        left[:] = [output]

    def take(module, args, output):
        return output + how(left.pop() if how is torch.zeros_like else left[0])

    lm.layers[0].mlp.register_forward_hook(leave)
    lm.layers[2].register_forward_hook(take)


@pytest.mark.parametrize("how", [torch.zeros_like, lambda left: 0.1 * left.sum()], ids=["used up", "kept"])
def test_a_model_whose_layers_leave_each_other_more_than_hidden_states_has_no_trunk(how):
    lm = build_language_model("llama")
    leave_behind(lm, how)
    assert open_trunk(lm, 2) is None


def test_there_is_no_trunk_below_the_lowest_layer_nor_in_padded_rows():
    assert open_trunk(build_language_model("llama"), 0) is None
    assert open_trunk(build_language_model("bloom", batching="padded"), 2) is None


def test_a_modules_own_forward_is_back_after_the_pass():
    lm = build_language_model("llama")
    before = [dict(vars(layer)) for layer in lm.layers]
    assert open_trunk(lm, 2)
    assert [dict(vars(layer)) for layer in lm.layers] == before
