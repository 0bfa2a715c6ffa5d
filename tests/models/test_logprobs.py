"""Packed scoring changes no result: it equals one forward pass per answer on the full text, in every family."""

from contextlib import nullcontext

import pytest
import torch
from tiny_models import EACH_FAMILY, build_language_model, edit_all_heads, random_values

from lofit_cli.errors import UserError
from lofit_cli.models.logprobs import MIN_CACHED_PREFIX, _shared_prefix, answer_logprobs, score_answers, tokenize
from lofit_cli.models.packing import TokenSequence, group_rows, pack_row, shared_prefix_length
from lofit_cli.schema.limits import FAR

PREFIX = "A long beginning that all prompts share. "
ITEMS = [
    (PREFIX + "Q: one?\nA:", [" Yes.", " Yes, it is.", " No."]),
    (PREFIX + "Q: another question?\nA:", [" the number", " the number 7", " the number"]),
    (PREFIX + "Q: a third?\nA:", [" 1", " 22"]),
]
WINDOWED = {
    "mistral": {"sliding_window": 8},
    "gemma2": {"sliding_window": 8},
    "gemma3": {"sliding_window": 8},
    "phi3": {"sliding_window": 8},
    "qwen2": {"sliding_window": 8, "use_sliding_window": True, "max_window_layers": 1},
}


def score_by_hand(lm, items):
    """Score each answer with a forward pass of its own, from token ids found without the engine."""
    scores = []
    for prompt, answers in items:
        start = len(lm.tokenizer(prompt)["input_ids"])
        for answer in answers:
            ids = torch.tensor([lm.tokenizer(prompt + answer)["input_ids"]])
            log_probs = lm.model(input_ids=ids).logits[0, :-1].log_softmax(-1)
            scores.append(log_probs.gather(-1, ids[0, 1:, None])[start - 1 :].sum())
    return torch.stack(scores)


def flat(scores):
    return torch.tensor([value for item in scores for value in item])


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("edited", [False, True])
@pytest.mark.parametrize("family", EACH_FAMILY)
def test_packed_scores_equal_one_by_one(family, edited):
    lm = build_language_model(family)
    assert shared_prefix_length([s for item in tokenize(lm, ITEMS) for s in item]) >= MIN_CACHED_PREFIX
    values = random_values(lm.geometry, 1), random_values(lm.geometry, 2)
    with edit_all_heads(*values).attach(lm) if edited else nullcontext(), torch.no_grad():
        close(flat(score_answers(lm, ITEMS)), score_by_hand(lm, ITEMS))


@pytest.mark.parametrize("family", WINDOWED)
def test_packed_scores_keep_sliding_windows(family):
    lm = build_language_model(family, **WINDOWED[family])
    with torch.no_grad():
        by_hand = score_by_hand(lm, ITEMS)
        close(flat(score_answers(lm, ITEMS)), by_hand)
        without_cache = [s for item in tokenize(lm, ITEMS) for s in item]
        close(answer_logprobs(lm, without_cache), by_hand)
        assert (score_by_hand(build_language_model(family), ITEMS) - by_hand).abs().max() > 1e-2


@pytest.mark.parametrize("family", EACH_FAMILY)
def test_packed_gradients_equal_one_by_one(family):
    lm = build_language_model(family)
    edit = edit_all_heads(*(random_values(lm.geometry, seed) for seed in (1, 2)))
    weights = torch.arange(1.0, 9.0)
    gradients = []
    for packed in (True, False):
        with edit.attach(lm):
            sequences = [s for item in tokenize(lm, ITEMS) for s in item]
            scores = answer_logprobs(lm, sequences) if packed else score_by_hand(lm, ITEMS)
        gradients.append(torch.autograd.grad((scores * weights).sum(), list(edit.parameters())))
    for found, expected in zip(*gradients, strict=True):
        assert (found - expected).norm() < 1e-4 * expected.norm()


@pytest.mark.parametrize("max_row_tokens", [1, 30, 1000])
def test_scores_do_not_depend_on_how_rows_are_filled(max_row_tokens):
    lm = build_language_model("llama", max_row_tokens=max_row_tokens)
    with torch.no_grad():
        close(flat(score_answers(lm, ITEMS)), score_by_hand(lm, ITEMS))


def test_scores_do_not_depend_on_order():
    lm = build_language_model("llama")
    backward = score_answers(lm, [(prompt, answers[::-1]) for prompt, answers in reversed(ITEMS)])
    close(flat([item[::-1] for item in reversed(backward)]), flat(score_answers(lm, ITEMS)))


@pytest.mark.parametrize("family", [*EACH_FAMILY, "bloom"])
def test_padded_scores_equal_one_by_one(family):
    lm = build_language_model(family, batching="padded")
    with torch.no_grad():
        close(flat(score_answers(lm, ITEMS)), score_by_hand(lm, ITEMS))


@pytest.mark.parametrize("max_row_tokens", [1, 40])
def test_padded_batches_hold_no_more_than_a_row(max_row_tokens):
    lm = build_language_model("bloom", batching="padded", max_row_tokens=max_row_tokens)
    shapes = []
    lm.model.register_forward_pre_hook(
        lambda m, args, inputs: shapes.append(inputs["input_ids"].shape), with_kwargs=True
    )
    answers = [" one", " two", " three", " four and more", " five"]
    with torch.no_grad():
        found = answer_logprobs(lm, [s for item in tokenize(lm, [("Q: how many?\nA:", answers)]) for s in item])
        assert all(rows == 1 or rows * length <= max_row_tokens for rows, length in shapes)
        assert 1 < len(shapes) <= len(answers)
        close(found, score_by_hand(lm, [("Q: how many?\nA:", answers)]))


def test_the_cache_of_the_shared_prefix_is_left_as_it_was():
    lm = build_language_model("llama")
    tokenized = tokenize(lm, ITEMS)
    with torch.inference_mode():
        prefix = _shared_prefix(lm, tokenized)
        first, second = (answer_logprobs(lm, tokenized[0], prefix) for _ in range(2))
    assert first.equal(second)


def test_a_row_holds_what_is_shared_once():
    sequences = [TokenSequence(tokens, 2) for tokens in ((1, 2, 3, 4), (1, 2, 3, 5), (1, 2, 6), (7, 8, 9))]
    row = pack_row(sequences)
    assert row.tokens.tolist() == [1, 2, 3, 7, 8]
    assert row.positions.tolist() == [0, 1, 2, 0, 1]
    assert row.predictors.tolist() == [1, 2, 4]
    assert [row.visible()[i].nonzero().flatten().tolist() for i in (2, 4)] == [[0, 1, 2], [3, 4]]
    assert row.scored_tokens.tolist() == [3, 6, 4, 5, 9]
    assert row.sequence_scored.tolist() == [[0, 2], [0, 3], [1, -1], [4, -1]]


def test_the_shared_prefix_stops_before_tokens_whose_place_tells_them_apart():
    prompt = tuple(range(20))
    same = [TokenSequence((*prompt, 30), 20), TokenSequence((*prompt, 31), 20)]
    assert shared_prefix_length(same) == 20 - FAR
    assert shared_prefix_length([*same, TokenSequence((0, 1, 9, *prompt), 23)]) == 2
    assert shared_prefix_length([*same, TokenSequence((0, 1, 2, 3), 3)]) == 0


def test_equal_tokens_at_other_places_are_other_nodes():
    row = pack_row([TokenSequence((1, 2, 3, 4), 2), TokenSequence((1, 2, 3, 5), 3)])
    assert row.tokens.tolist() == [1, 2, 3, 1, 2, 3]
    assert row.distances.tolist() == [1, 0, -1, 2, 1, 0]


def test_rows_are_filled_up_to_the_limit():
    items = [[TokenSequence((*range(5), *range(i, i + 6)), 8)] for i in range(5)]
    assert [len(group) for group in group_rows(items, max_tokens=15)] == [2, 2, 1]
    assert [len(group) for group in group_rows(items, max_tokens=20, prefix_length=5)] == [4, 1]


def test_a_token_across_the_boundary_counts_as_the_answers():
    lm = build_language_model("llama")
    ((sequence,),) = tokenize(lm, [("Q: x A:", ["No"])])
    assert list(sequence.tokens) == lm.tokenizer("Q: x A:No")["input_ids"]
    assert lm.tokenizer.decode(sequence.tokens[sequence.start :]) == ":No"


def test_end_of_sequence_is_scored_when_asked_for():
    lm = build_language_model("llama")
    ((plain,),), ((ended,),) = (tokenize(lm, [("Q", [" A"])], append_eos=end) for end in (False, True))
    assert ended.tokens == (*plain.tokens, lm.tokenizer.eos_token_id)
    assert ended.start == plain.start


@pytest.mark.parametrize("item", [("", ["No"]), ("Q:", [""])])
def test_nothing_to_predict_from_or_to_score_is_refused(item):
    with pytest.raises(UserError, match="has no token"):
        tokenize(build_language_model("llama"), [item])
