"""What holds for any input: packing, where answers begin in any text, files that are cut anywhere, quoted settings."""

import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import build_language_model

from lofit_cli.artifacts.head_mask import HeadMask
from lofit_cli.artifacts.predictions import LogProb
from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.errors import UserError
from lofit_cli.evaluation.kept_outcomes import KeptOutcomes
from lofit_cli.hydra_overrides import parse_one, quote
from lofit_cli.models.logprobs import score_answers, tokenize
from lofit_cli.models.packing import TokenSequence, pack_row

SEQUENCES = st.lists(
    st.tuples(st.lists(st.integers(0, 2), min_size=2, max_size=8), st.integers(1, 7)).map(
        lambda pair: TokenSequence(tuple(pair[0]), min(pair[1], len(pair[0]) - 1))
    ),
    min_size=1,
    max_size=12,
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
ITEMS = st.lists(st.tuples(TEXTS, st.lists(TEXTS, min_size=1, max_size=3)), min_size=1, max_size=3)
TYPED = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(lambda text: text[0] != "~")
NUMBERS = st.floats(-1e3, 0.0)
LINES = st.lists(st.dictionaries(TEXTS, st.one_of(NUMBERS, TEXTS, st.none(), st.booleans())), max_size=5)


@cache
def packed():
    return build_language_model("llama", max_row_tokens=40)


@given(SEQUENCES)
def test_each_token_of_a_row_sees_its_own_sequence_and_nothing_else(sequences):
    row = pack_row(sequences)
    visible, scored = row.visible(), 0
    for sequence, places in zip(sequences, row.sequence_scored.tolist(), strict=True):
        answer = [place for place in places if place != -1]
        assert row.scored_tokens[answer].tolist() == list(sequence.tokens[sequence.start :])
        for i, place in enumerate(answer, sequence.start):
            node = row.predictors[row.scored_from[place]]
            seen = visible[node].nonzero().squeeze(-1)
            in_order = seen[row.positions[seen].argsort()]
            assert row.tokens[in_order].tolist() == list(sequence.tokens[:i])
            assert row.positions[in_order].tolist() == list(range(i))
            scored += 1
    assert len(row.tokens) <= sum(len(sequence.tokens) for sequence in sequences)
    assert scored == sum(len(sequence.tokens) - sequence.start for sequence in sequences)


@given(ITEMS)
@settings(max_examples=60, deadline=None)
def test_any_text_is_scored_as_one_text_from_where_its_answer_begins(items):
    lm = packed()
    try:
        tokenized = tokenize(lm, items)
    except UserError as error:
        if "has no token in its" not in str(error):
            raise
        return
    for (prompt, answers), sequences in zip(items, tokenized, strict=True):
        for answer, sequence in zip(answers, sequences, strict=True):
            found = lm.tokenizer(prompt + answer, return_offsets_mapping=True)
            assert list(sequence.tokens) == found["input_ids"]
            begins = [end > len(prompt) for _, end in found["offset_mapping"]]
            assert sequence.start == begins.index(True)
    together, alone = score_answers(lm, items), score_answers(replace(lm, batching="single"), items)
    flat = [torch.tensor([value for item in found for value in item]) for found in (together, alone)]
    torch.testing.assert_close(*flat, atol=1e-4, rtol=0)


@given(LINES, st.data())
@settings(deadline=None)
def test_a_log_that_is_cut_anywhere_gives_its_whole_lines(lines, data):
    with tempfile.TemporaryDirectory() as folder:
        run = RunDir(Path(folder), "evaluate")
        for line in lines:
            run.append_line("history.jsonl", line)
        file = Path(folder, "history.jsonl")
        content = file.read_bytes() if lines else b""
        cut = data.draw(st.integers(0, len(content)))
        file.write_bytes(content[:cut])
        found = RunDir(Path(folder), "evaluate", continues=True).read_lines("history.jsonl")
        num_whole = content[:cut].count(b"\n")
        assert found[:num_whole] == lines[:num_whole]
        # A line that lacks its end alone may be counted, and is then whole all the same.
        assert found == lines[: len(found)]


@given(st.dictionaries(st.integers(0, 50), st.one_of(TEXTS, st.lists(NUMBERS, min_size=1, max_size=4)), min_size=1))
@settings(deadline=None)
def test_outcomes_are_the_same_numbers_and_texts_when_they_are_read_again(found):
    with tempfile.TemporaryDirectory() as folder:
        kept = KeptOutcomes(RunDir(Path(folder), "evaluate"))
        for number, outcome in found.items():
            kept.add([number], [outcome if isinstance(outcome, str) else _log_probs(outcome)])
        again = KeptOutcomes(RunDir(Path(folder), "evaluate", continues=True))
        assert again.known == kept.known
        assert sorted(again.known) == sorted(found)


def _log_probs(values):
    return [LogProb(value, i + 1) for i, value in enumerate(values)]


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=12, max_size=12), st.integers(1, 12))
@settings(deadline=None)
def test_a_head_mask_is_the_same_when_it_is_read_again(scores, count):
    geometry = packed().geometry
    grid = torch.tensor(scores).reshape(3, 4)
    mask = torch.zeros(12, dtype=torch.bool)
    mask[:count] = True
    heads = HeadMask("m", geometry, "random", grid, mask.reshape(3, 4))
    with tempfile.TemporaryDirectory() as folder:
        heads.save(Path(folder))
        again = HeadMask.load(Path(folder, "head_mask.safetensors"), "m", geometry)
    assert torch.equal(again.mask, heads.mask)
    assert torch.equal(again.scores, heads.scores)


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(lambda text: not text.startswith("~"))
)
@settings(deadline=None)
def test_a_quoted_setting_is_read_back_letter_for_letter(text):
    override = parse_one(f"baseline={quote(text)}")
    if override is None:
        pytest.fail(f"{text!r} can't be read")
    assert override.value() == text
