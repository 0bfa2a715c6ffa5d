"""Whole texts are scored without a prompt: from their first token on after BOS, else from the second one."""

from contextlib import nullcontext

import pytest
import torch
from tiny_models import EACH_FAMILY, build_language_model, build_tokenizer, edit_all_heads, random_values

from lofit_cli.errors import ItemError
from lofit_cli.interventions.soft_prompt import SoftPrompt
from lofit_cli.models.logprobs import score_answers, tokenize
from lofit_cli.prompts import WHOLE_TEXT, ask

PAIRS = [
    ("The number is the answer.", "A number is the answer."),
    ("Nobody knows the number of the street.", "Nobody knows the number of the streets in the town."),
    ("No.", "The the the: no, number 12 is the answer to it all, and the rest is not worth a word."),
]
ITEMS = [(WHOLE_TEXT, pair) for pair in PAIRS]


def with_bos(lm):
    """Let texts begin with the only special token that the tiny tokenizer has."""
    lm.tokenizer.bos_token = lm.tokenizer.eos_token
    object.__setattr__(lm, "add_bos", "true")
    return lm


def loop_over_tokens(model, tokenizer, text, bos):
    """Return the sum of all tokens' log-probabilities in the plainest way, each from a pass over those before it."""
    tokens = [*([tokenizer.eos_token_id] if bos else []), *tokenizer(text)["input_ids"]]
    total = 0.0
    for place in range(1, len(tokens)):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([tokens[:place]]), use_cache=False).logits[0, -1]
        total += float(logits.double().log_softmax(-1)[tokens[place]])
    return total


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("batching", ["packed", "padded"])
@pytest.mark.parametrize("family", EACH_FAMILY)
def test_a_sum_is_that_of_a_loop_over_the_sentence(family, batching, bos):
    lm = build_language_model(family, batching)
    lm = with_bos(lm) if bos else lm
    found = score_answers(lm, ITEMS)
    for pair, scores in zip(PAIRS, found, strict=True):
        for text, score in zip(pair, scores, strict=True):
            assert score == pytest.approx(loop_over_tokens(lm.model, build_tokenizer(), text, bos), abs=1e-4)
            assert score.num_tokens == len(build_tokenizer()(text)["input_ids"]) - (not bos)


@pytest.mark.parametrize("bos", [True, False])
def test_packed_scores_are_padded_ones_under_an_edit(bos):
    lms = [build_language_model("llama", batching) for batching in ("packed", "padded")]
    found = []
    for lm in map(with_bos, lms) if bos else lms:
        with edit_all_heads(*(random_values(lm.geometry, seed) for seed in (1, 2))).attach(lm):
            found.append([value for item in score_answers(lm, ITEMS) for value in item])
    assert found[0] == pytest.approx(found[1], abs=1e-4)
    assert found[0] != pytest.approx([v for item in score_answers(lms[0], ITEMS) for v in item], abs=1e-2)


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("before", ["demonstrations", "vectors"])
def test_what_stands_before_a_sentence_changes_no_token_that_is_scored(bos, before):
    lm = build_language_model("llama")
    lm = with_bos(lm) if bos else lm
    plain = [[value.num_tokens for value in item] for item in score_answers(lm, ITEMS)]
    edit = SoftPrompt(torch.randn(3, 32)).attach(lm) if before == "vectors" else nullcontext()
    shown = [
        (ask("Shown: ") + WHOLE_TEXT, pair) if before == "demonstrations" else (WHOLE_TEXT, pair) for pair in PAIRS
    ]
    with edit:
        found = score_answers(lm, shown)
        ends = [[lm.tokenizer.decode(s.tokens[s.start :]) for s in item] for item in tokenize(lm, shown)]
    assert [[value.num_tokens for value in item] for item in found] == plain
    left_out = [[lm.tokenizer.decode(s.tokens[s.start :]) for s in item] for item in tokenize(lm, ITEMS)]
    assert ends == left_out
    assert not bos or ends == [list(pair) for pair in PAIRS]


def test_without_bos_the_first_token_is_the_prompt():
    lm = build_language_model("llama")
    ((sequence,),) = tokenize(lm, [(WHOLE_TEXT, ["Nobody"])])
    assert lm.tokenizer.decode(sequence.tokens) == "Nobody"
    assert (sequence.start, lm.tokenizer.decode(sequence.tokens[:1])) == (1, "N")


@pytest.mark.parametrize("text", ["", "N"])
def test_a_text_of_fewer_than_two_tokens_is_refused_where_no_bos_stands_before_it(text):
    lm = build_language_model("llama")
    with pytest.raises(ItemError, match="item 2 has fewer than two tokens, and the first is not scored; give it more"):
        tokenize(lm, [(WHOLE_TEXT, ["Nobody"]), (WHOLE_TEXT, [text])])
    with SoftPrompt(torch.zeros(2, 32)).attach(lm), pytest.raises(ItemError, match="fewer than two tokens"):
        tokenize(lm, [(WHOLE_TEXT, [text])])


def test_after_bos_one_token_is_enough_and_none_is_refused():
    lm = with_bos(build_language_model("llama"))
    ((sequence,),) = tokenize(lm, [(WHOLE_TEXT, ["N"])])
    assert (len(sequence.tokens), sequence.start) == (2, 1)
    with pytest.raises(ItemError, match="has no token in its answer"):
        tokenize(lm, [(WHOLE_TEXT, [""])])


def test_an_empty_prompt_of_ones_own_is_refused_as_before():
    with pytest.raises(ItemError, match="has no token in its prompt"):
        tokenize(build_language_model("llama"), [("", ["Nobody"])])
