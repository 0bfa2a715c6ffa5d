"""Every method works under `lm.generate`; a plain call under an edit of some positions says what to call instead."""

import pytest
import torch
from making import REFUSED, make
from tiny_models import build_language_model

from lofit_cli.errors import UserError
from lofit_cli.interventions.contrast_edit import ContrastEdit
from lofit_cli.methods import METHODS
from lofit_cli.models.logprobs import answer_logprobs, score_answers, tokenize_items

PROMPTS = ["Q: Which number is this one?\nA:", "A longer beginning of text. Q: Which number?\nA:", "Q: x?\nA:"]
EVERYWHERE = {"bitfit", "full", "lofit", "lora", "peft", "random_offset", "red", "repe"}
EVERYWHERE |= {"bipo", "dola", "file", "jola", "sea", "sink", "sink_bias"}
KINDS = [*((name, {}) for name in METHODS), ("repe", {"vector": "contrast"})]
NAMES = [name if not settings else "contrast" for name, settings in KINDS]
KINDS_OF_SOME_POSITIONS = [kind for kind, name in zip(KINDS, NAMES, strict=True) if name not in EVERYWHERE]
IDS_OF_SOME_POSITIONS = [name for name in NAMES if name not in EVERYWHERE]
PLAIN_CALLS = {
    "forward pass": lambda lm, ids: lm.model(input_ids=ids),
    "generate": lambda lm, ids: lm.model.generate(ids, max_new_tokens=3),
    "generate without a cache": lambda lm, ids: lm.model.generate(ids, max_new_tokens=3, use_cache=False),
}


def greedy_by_hand(lm, prompt, max_new_tokens):
    """Take the likeliest token again and again, each time from the whole text, with distances told by counting."""
    ids = lm.beginning + lm.tokenizer(prompt)["input_ids"]
    new = []
    while len(new) < max_new_tokens:
        tokens = torch.tensor([ids + new])
        index = torch.arange(tokens.shape[1])[None]
        distances = torch.tensor([[max(-1, min(8, len(ids) - 1 - i)) for i in range(tokens.shape[1])]])
        with lm.token_positions(index, distances):
            token = int(lm.model(input_ids=tokens, use_cache=False).logits[0, -1].argmax())
        if token in (lm.tokenizer.eos_token_id, lm.model.generation_config.eos_token_id):
            break
        new.append(token)
    return lm.tokenizer.decode(new, skip_special_tokens=True)


@pytest.mark.parametrize(
    ("name", "settings", "family"),
    [
        pytest.param(name, settings, family, id=f"{label}-{family}")
        for (name, settings), label in zip(KINDS, NAMES, strict=True)
        for family in ("llama", "gpt2", "gemma3")
        if family not in REFUSED.get(name, ())
    ],
)
def test_every_method_generates_what_is_taken_by_hand(name, settings, family, tmp_path):
    lm = build_language_model(family, max_row_tokens=1000)
    # What DoLa leaves out in generation only, a loop by hand would not.
    edit = make(name, lm, tmp_path, **{"relative_top": 0.1} if name == "dola" else settings)
    with edit.attach(lm), torch.no_grad():
        found = lm.generate(PROMPTS, max_new_tokens=5)
        assert found == [greedy_by_hand(lm, edit.demonstrations.text + prompt, 5) for prompt in PROMPTS]
    assert lm.generate(PROMPTS[0], 5) == [greedy_by_hand(lm, PROMPTS[0], 5)]


@pytest.mark.parametrize("call", PLAIN_CALLS.values(), ids=PLAIN_CALLS)
@pytest.mark.parametrize(("name", "settings"), KINDS_OF_SOME_POSITIONS, ids=IDS_OF_SOME_POSITIONS)
def test_a_plain_call_under_an_edit_of_some_positions_says_what_to_call(name, settings, call, tmp_path):
    lm = build_language_model("llama")
    edit = make(name, lm, tmp_path, **settings)
    score_answers(lm, [(PROMPTS[0], [" the number"])])
    ids = torch.tensor([lm.tokenizer(PROMPTS[0])["input_ids"]])
    before = lm.generate(PROMPTS, 3)
    with edit.attach(lm):
        score_answers(lm, [(PROMPTS[0], [" the number"])])
        during = lm.generate(PROMPTS, 3)
        with pytest.raises(UserError, match=r"call lm\.generate\(prompts, max_new_tokens="):
            call(lm, ids)
        assert lm.generate(PROMPTS, 3) == during
    call(lm, ids)
    assert lm.generate(PROMPTS, 3) == before


@pytest.mark.parametrize("name", sorted(EVERYWHERE))
def test_a_plain_call_under_an_edit_of_all_positions_works(name, tmp_path):
    lm = build_language_model("llama")
    edit = make(name, lm, tmp_path)
    ids = torch.tensor([lm.tokenizer(PROMPTS[0])["input_ids"]])
    with edit.attach(lm):
        expected = lm.generate(PROMPTS[0], 3)
        tokens = lm.model.generate(ids, max_new_tokens=3, do_sample=False)[0, ids.shape[1] :].tolist()
    ends = [i for i, token in enumerate(tokens) if token in (0, 2)]
    assert lm.tokenizer.decode(tokens[: ends[0] if ends else 3]) == expected[0]


def test_positions_end_with_their_forward_pass():
    lm = build_language_model("llama")
    index = torch.arange(3)[None]
    with lm.token_positions(index, index):
        with lm.token_positions(index + 1, index):
            assert lm.token_positions.read().positions.equal(index + 1)
        assert lm.token_positions.read().positions.equal(index)
    with pytest.raises(UserError, match="needs to know where each prompt begins"):
        lm.token_positions.read()


@pytest.mark.parametrize("fails_in", ["forward pass", "generation"])
def test_positions_end_with_a_forward_pass_that_fails(fails_in, monkeypatch):
    lm = build_language_model("llama")

    def fail(*args, **kwargs):
        raise ValueError("midway")

    monkeypatch.setattr(lm.layers[1], "forward", fail)
    with pytest.raises(ValueError, match="midway"):
        lm.generate(PROMPTS, 3) if fails_in == "generation" else score_answers(lm, [(PROMPTS[0], [" No"])])
    with pytest.raises(UserError, match="needs to know"):
        lm.token_positions.read()


@pytest.mark.parametrize("other", ["iti", "loreft", "caa"])
def test_a_contrast_vectors_own_forward_passes_know_their_positions(other, tmp_path):
    """An edit of some positions acts in the instructed twins as well, alike whether packed or alone or generating."""
    lm = build_language_model("llama", max_row_tokens=1000)
    contrast, second = make("repe", lm, tmp_path, vector="contrast"), make(other, lm, tmp_path)
    items = [(prompt, [" the number", " No"]) for prompt in PROMPTS]
    for first, last in ((contrast, second), (second, contrast)):
        with first.attach(lm), last.attach(lm), torch.no_grad():
            sequences = [sequence for item in tokenize_items(lm, items) for sequence in item]
            alone = torch.cat([answer_logprobs(lm, [sequence]) for sequence in sequences])
            torch.testing.assert_close(torch.tensor(score_answers(lm, items)).flatten(), alone, atol=1e-4, rtol=0)
            assert lm.generate(PROMPTS, 4) == [greedy_by_hand(lm, prompt, 4) for prompt in PROMPTS]


def test_several_demonstrations_stand_in_the_order_of_their_attachment(tmp_path):
    lm = build_language_model("llama", max_row_tokens=1000)
    few, more = (make("icl", lm, tmp_path / str(n), num_examples=n) for n in (1, 2))
    with few.attach(lm), more.attach(lm):
        found = lm.generate(PROMPTS, 4)
    with torch.no_grad():
        assert found == [
            greedy_by_hand(lm, (few.demonstrations + more.demonstrations).text + prompt, 4) for prompt in PROMPTS
        ]


@pytest.mark.parametrize(("count", "words"), [(0, "max_new_tokens=0 is not allowed"), (10_000, "has positions for")])
def test_numbers_of_new_tokens_that_cannot_be(count, words):
    with pytest.raises(UserError, match=words):
        build_language_model("llama").generate(PROMPTS, count)


@pytest.mark.parametrize(("family", "key"), [("llama", "max_position_embeddings"), ("gpt2", "n_positions")])
def test_an_instruction_that_a_text_leaves_no_positions_for_is_refused(family, key):
    lm = build_language_model(family, **{key: 40})
    said = f"model '{family}' is run beside on .* tokens, 8 of them before the text, and has positions for 40"
    with ContrastEdit("Be right.", "Be wrong", 2.0, 1).attach(lm):
        assert len(lm.generate("Which number is it?", 4)) == 1
        with pytest.raises(UserError, match=said):
            lm.generate("Which number is it, and which is the other?", 4)
