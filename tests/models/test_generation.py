"""Greedy lines do not depend on batches or padding, in any family, with or without an edit."""

import pytest
import torch
from tiny_models import FAMILIES, build_language_model, edit_all_heads, random_values

from lofit_cli.interventions.demonstrations import Demonstrations
from lofit_cli.models.generation import first_line, generate_lines

PROMPTS = ["Q: one?\nA:", "A longer prompt, so that the others are padded. Q: two?\nA:", "Q: a third?\nA:", "the"]


def greedy_by_hand(lm, prompt, max_new_tokens):
    """Take the likeliest token again and again, each time from the whole text."""
    ids = lm.tokenizer(prompt)["input_ids"]
    new = []
    while len(new) < max_new_tokens and "\n" not in lm.tokenizer.decode(new).lstrip():
        token = int(lm.model(input_ids=torch.tensor([ids + new])).logits[0, -1].argmax())
        new.append(token)
        if token == lm.tokenizer.eos_token_id:
            break
    return first_line(lm.tokenizer.decode(new, skip_special_tokens=True))


@pytest.mark.parametrize("max_row_tokens", [1, 1000])
@pytest.mark.parametrize("family", FAMILIES)
def test_lines_are_those_taken_by_hand(family, max_row_tokens):
    lm = build_language_model(family, max_row_tokens=max_row_tokens)
    edit = edit_all_heads(random_values(lm.geometry, 1), random_values(lm.geometry, 2))
    for attached in (Demonstrations(), edit):
        with attached.attach(lm), torch.no_grad():
            found = generate_lines(lm, PROMPTS, max_new_tokens=6)
            assert found == [greedy_by_hand(lm, prompt, 6) for prompt in PROMPTS]


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
