"""Greedy lines do not depend on batches or padding, in any family, with or without an edit."""

import itertools

import pytest
import torch
from tiny_models import EACH_FAMILY, build_language_model, edit_all_heads, random_values
from tokenizers import AddedToken

from lofit_cli.errors import RunError, UserError
from lofit_cli.interventions.demonstrations import Demonstrations
from lofit_cli.models import generation
from lofit_cli.models.generation import first_line, generate_lines

PROMPTS = ["Q: one?\nA:", "A longer prompt, so that the others are padded. Q: two?\nA:", "Q: a third?\nA:", "the"]


def greedy_by_hand(lm, prompt, max_new_tokens):
    """Take the likeliest token again and again, each time from the whole text."""
    ids = lm.tokenizer(prompt)["input_ids"]
    new = []
    while len(new) < max_new_tokens and "\n" not in lm.tokenizer.decode(new).lstrip():
        token = int(lm.model(input_ids=torch.tensor([ids + new])).logits[0, -1].argmax())
        if token in (lm.tokenizer.eos_token_id, lm.model.generation_config.eos_token_id):
            break
        new.append(token)
    return first_line(lm.tokenizer.decode(new, skip_special_tokens=True))


@pytest.mark.parametrize("max_row_tokens", [1, 1000])
@pytest.mark.parametrize("family", EACH_FAMILY)
def test_lines_are_those_taken_by_hand(family, max_row_tokens):
    lm = build_language_model(family, max_row_tokens=max_row_tokens)
    edit = edit_all_heads(random_values(lm.geometry, 1), random_values(lm.geometry, 2))
    for attached in (Demonstrations(), edit):
        with attached.attach(lm), torch.no_grad():
            found = generate_lines(lm, PROMPTS, max_new_tokens=6)
            assert found == [greedy_by_hand(lm, prompt, 6) for prompt in PROMPTS]


def test_the_models_own_generation_settings_are_set_aside():
    lm = build_language_model("llama")
    plain = generate_lines(lm, PROMPTS, max_new_tokens=8)
    lm.model.generation_config.update(repetition_penalty=5.0, no_repeat_ngram_size=2, suppress_tokens=list(range(60)))
    before = lm.model.generation_config.to_dict()
    assert generate_lines(lm, PROMPTS, max_new_tokens=8) == plain
    assert lm.model.generation_config.to_dict() == before


def test_logits_that_are_not_finite_are_refused():
    lm = build_language_model("llama")
    shape = lm.geometry.num_layers, lm.geometry.max_heads, lm.geometry.head_dim
    with edit_all_heads(None, torch.full(shape, float("nan"))).attach(lm), pytest.raises(RunError, match="not finite"):
        generate_lines(lm, PROMPTS, max_new_tokens=4)


def count_tokens(lm):
    """Return a list that grows with each forward pass: (sequences, tokens computed, tokens taken from a cache)."""
    seen = []

    def record(module, args, inputs):
        cache = inputs.get("past_key_values")
        seen.append((*inputs["input_ids"].shape, cache.get_seq_length() if cache is not None else 0))

    lm.model.register_forward_pre_hook(record, with_kwargs=True)
    return seen


SHARED = [f"Some lines that every one of these prompts begins with, word for word. {prompt}" for prompt in PROMPTS]


@pytest.mark.parametrize("max_row_tokens", [1, 160])
@pytest.mark.parametrize("family", EACH_FAMILY)
def test_a_shared_beginning_is_computed_once_and_changes_no_line(family, max_row_tokens, monkeypatch):
    lm = build_language_model(family, max_row_tokens=max_row_tokens)
    edit = edit_all_heads(random_values(lm.geometry, 1), random_values(lm.geometry, 2))
    calls = count_tokens(lm)
    with edit.attach(lm), torch.no_grad():
        shared = generate_lines(lm, SHARED, max_new_tokens=6)
        num_sequences, length, _ = calls[0]
        assert num_sequences == 1
        assert length > 16
        assert all(num_cached >= length for _, _, num_cached in calls[1:])
        monkeypatch.setattr(generation, "MIN_CACHED_PREFIX", 1000)
        del calls[:]
        assert generate_lines(lm, SHARED, max_new_tokens=6) == shared
        assert calls[0][2] == 0
        assert shared == [greedy_by_hand(lm, prompt, 6) for prompt in SHARED]


@pytest.mark.parametrize("prompts", [PROMPTS, SHARED[:1]])
def test_prompts_that_share_nothing_are_computed_whole(prompts):
    lm = build_language_model("llama", max_row_tokens=1000)
    calls = count_tokens(lm)
    generate_lines(lm, prompts, 2)
    assert calls[0] == (len(prompts), max(len(lm.tokenizer(prompt)["input_ids"]) for prompt in prompts), 0)


def test_a_prompt_that_is_the_shared_beginning_itself_keeps_its_last_token():
    lm = build_language_model("llama", max_row_tokens=1000)
    prompts = [SHARED[0], SHARED[0] + " the", SHARED[0]]
    with torch.no_grad():
        assert generate_lines(lm, prompts, 6) == [greedy_by_hand(lm, prompt, 6) for prompt in prompts]


@pytest.mark.parametrize(("window", "is_shared"), [(24, False), (4096, True)])
def test_an_attention_window_that_is_reached_is_not_shared_across(window, is_shared):
    lm = build_language_model("mistral", sliding_window=window, max_row_tokens=1000)
    calls = count_tokens(lm)
    with torch.no_grad():
        assert generate_lines(lm, SHARED, 6) == [greedy_by_hand(lm, prompt, 6) for prompt in SHARED]
    assert (calls[0][0] == 1) is is_shared


def test_an_edit_changes_what_is_said():
    lm = build_language_model("llama")
    before = generate_lines(lm, PROMPTS, max_new_tokens=6)
    with edit_all_heads(offset=random_values(lm.geometry, 2, size=3)).attach(lm):
        assert generate_lines(lm, PROMPTS, max_new_tokens=6) != before


@pytest.mark.parametrize(
    ("text", "line"),
    [(" Paris\nQ: next", "Paris"), ("\nbrother", "brother"), ("", ""), ("\n\n", ""), ("two words ", "two words")],
)
def test_the_first_line_with_text(text, line):
    assert first_line(text) == line


def test_progress_counts_every_prompt():
    done = []
    generate_lines(build_language_model("llama", max_row_tokens=1), PROMPTS, 2, done.append)
    assert sum(done) == len(PROMPTS)


def build_bigram_model(end, ends, special):
    """Return a model that says ': True', then `end`, then 'Z' for ever, and whose own settings end a turn at `ends`."""
    lm = build_language_model("llama", hidden_size=320, vocab_size=320, tie_word_embeddings=False)
    lm.tokenizer.add_tokens([AddedToken("<turn_end>", special=special)], special_tokens=special)
    model, size = lm.model, 320
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    model.model.embed_tokens.weight.copy_(torch.eye(size))
    model.lm_head.weight.zero_()
    chain = lm.tokenizer(": True")["input_ids"] + lm.tokenizer.convert_tokens_to_ids([end, "Z", "Z"])
    for before, after in itertools.pairwise(chain):
        model.lm_head.weight[after, before] = 5.0
    model.generation_config.eos_token_id = lm.tokenizer.convert_tokens_to_ids(ends) if ends else None
    return lm


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize(
    ("end", "ends"),
    [
        ("<turn_end>", ["<turn_end>"]),
        ("<turn_end>", ["<eos>", "<turn_end>"]),
        ("<turn_end>", ["<turn_end>", "X"]),
        ("<eos>", ["<turn_end>"]),
        ("<eos>", []),
    ],
)
def test_text_ends_at_the_first_end_token_of_tokenizer_or_model(end, ends, special):
    lm = build_bigram_model(end, ends, special)
    assert generate_lines(lm, ["Answer:", "A longer one. Answer:"], 12) == ["True", "True"]
    assert lm.generate(["Answer:", "A longer one. Answer:"], 12) == [" True", " True"]


def test_a_token_that_ends_no_turn_is_said():
    lm = build_bigram_model("<turn_end>", [], special=False)
    assert generate_lines(lm, ["Answer:"], 12) == ["True<turn_end>ZZZZZZ"]


def test_an_end_token_that_the_models_settings_give_alone_is_taken():
    lm = build_bigram_model("<turn_end>", ["<turn_end>"], special=True)
    lm.model.generation_config.eos_token_id = lm.tokenizer.convert_tokens_to_ids("<turn_end>")
    lm.tokenizer.eos_token = None
    assert lm.generate("Answer:", 12) == [" True"]


@pytest.mark.parametrize("wrong", ["<turn_end>", [[2]], -1])
def test_an_end_token_that_is_no_token_is_refused_in_a_sentence(wrong):
    lm = build_bigram_model("<turn_end>", ["<turn_end>"], special=True)
    lm.model.generation_config.eos_token_id = wrong
    with pytest.raises(UserError, match=r"in its generation_config\.json; it must be the number"):
        lm.generate("Answer:", 12)
