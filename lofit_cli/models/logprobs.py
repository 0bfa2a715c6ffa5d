"""The one function behind training and scoring: the summed log-probability of answers to prompts."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from lofit_cli.artifacts.outcomes import Outcomes
from lofit_cli.artifacts.predictions import LogProb
from lofit_cli.errors import ItemError, UserError, naming_item
from lofit_cli.models.chat import AnsweredText
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.encoding import EncodedText
from lofit_cli.models.forward import (
    MIN_CACHED_PREFIX,
    cache_prefix,
    copied_token_logprobs,
    packed_logprobs,
    padded_logprobs,
)
from lofit_cli.models.packing import TokenSequence, group_rows, shared_prefix_length
from lofit_cli.prompts import Prompt, as_prompt

Prompted = tuple[str | Prompt, Sequence[str]]
"""A prompt and the answers that may follow it."""


def answer_logprobs(lm: Decoder, sequences: Sequence[TokenSequence], prefix: DynamicCache | None = None) -> Tensor:
    """Return the summed natural-log probability of each sequence's answer tokens.

    It is one forward pass for a model that takes packed rows.

    Args:
        sequences: prompts with answers; sequences with a common beginning should stand together.
        prefix: the cache of a beginning that all sequences share, left as it was found.

    Returns:
        (num_sequences,) float32, differentiable.
    """
    if lm.batching != "packed":
        return padded_logprobs(lm, sequences)
    return packed_logprobs(lm, sequences, prefix)


def copied_logprobs(lm: Decoder, sequences: Sequence[TokenSequence], num_copies: int) -> Tensor:
    """Return what `answer_logprobs` does of each copy of the row, (num_copies, num_sequences).

    Args:
        num_copies: how many what is attached makes of a row; more than 1 for a model that takes packed rows only.
    """
    if num_copies == 1:
        return answer_logprobs(lm, sequences)[None]
    return copied_token_logprobs(lm, sequences, None, num_copies).sum(dim=-1)


def tokenize(lm: Decoder, items: Sequence[Prompted], append_eos: bool = False) -> list[list[TokenSequence]]:
    """Return, for each item, the token sequences of its answers.

    Prompt and answer are tokenised as one text, so the boundary between them changes no token. A token that holds
    the last characters of the prompt and the first of the answer counts as the answer's.

    Args:
        append_eos: let an end token follow each answer, or what ends a turn in the model's chat template.

    Raises:
        ItemError: a prompt or an answer has no token, or one that can't be read as text.
        UserError: the tokenizer has no end token to append.
    """
    texts: list[tuple[int, AnsweredText]] = []
    for index, (prompt, answers) in enumerate(items):
        with naming_item(index):
            texts += [(index, text) for text in lm.answered_texts(as_prompt(prompt), answers)]
    try:
        # What a chat template writes after an answer may share a token with it, which scoring has to do without.
        encoded = lm.encode([text.text if append_eos else text.text[: text.end] for _, text in texts])
    except ItemError as error:
        raise ItemError(texts[error.index][0], error.reason)
    closing = _closing_tokens(lm) if append_eos else ()
    sequences = (_sequence(i, text, found, closing) for (i, text), found in zip(texts, encoded, strict=True))
    return [[next(sequences) for _ in answers] for _, answers in items]


def _closing_tokens(lm: Decoder) -> tuple[int, ...]:
    """Return what closes an answer after its text; a chat template has written that already."""
    if lm.chat:
        return ()
    if lm.tokenizer.eos_token_id is None:
        raise UserError(
            "task.append_eos=true needs a tokenizer with an end-of-sequence token; set task.append_eos=false"
        )
    return (lm.tokenizer.eos_token_id,)


def _sequence(index: int, text: AnsweredText, found: EncodedText, closing: tuple[int, ...]) -> TokenSequence:
    """Return the tokens of a text of the item of this number, told where its answer begins."""
    first = next((i for i, end in enumerate(found.ends) if end > text.start), len(found.tokens))
    start = first + text.num_unscored
    if not 0 < start < len(found.tokens):
        raise ItemError(index, _describe_lack(text))
    return TokenSequence((*found.tokens, *closing), start)


def _describe_lack(text: AnsweredText) -> str:
    """Return what keeps a text from being scored."""
    if text.num_unscored:
        return "has fewer than two tokens, and the first is not scored; give it more text, or set model.add_bos=true"
    part = "prompt" if text.end > text.start else "answer"
    return f"has no token in its {part}; give it some text"


def tokenize_items(lm: Decoder, items: Sequence[Prompted], append_eos: bool = False) -> list[list[TokenSequence]]:
    """Return, for each item, the token sequences of its answers.

    Raises:
        ItemError: a prompt or an answer has no token, or both together have more than the model has positions.
    """
    tokenized = tokenize(lm, items, append_eos)
    lm.require_positions([max((len(s.tokens) for s in sequences), default=0) for sequences in tokenized])
    return tokenized


def score_answers(
    lm: Decoder,
    items: Sequence[Prompted],
    report: Callable[[int], None] = lambda num_items: None,
    known: Outcomes | None = None,
    append_eos: bool = False,
) -> list[list[LogProb]]:
    """Return the log-probability of every answer of every item, computing a prompt shared by all of them once.

    Args:
        report: called with the number of items done after each forward pass.
        known: what was scored before, and takes in what is scored now.
        append_eos: score what ends an answer with it; see `tokenize`.

    Raises:
        RunError: a log-probability is not finite.
    """
    tokenized, scored = tokenize_items(lm, items, append_eos), Outcomes() if known is None else known
    scored.keep(len(items), lambda number, found: _is_scored(tokenized[number], found))
    with torch.inference_mode():
        prefix = _shared_prefix(lm, tokenized)
        rows = group_rows(tokenized, lm.max_row_tokens, 0 if prefix is None else prefix.get_seq_length())
        ends = list(accumulate(len(row) for row in rows))
        batches = [range(*limits) for limits in pairwise([0, *ends])]
        return scored.complete(batches, lambda numbers: _launch(lm, [tokenized[i] for i in numbers], prefix), report)


def _is_scored(item: Sequence[TokenSequence], found: Any) -> bool:
    """Return whether these are log-probabilities of an item's answers."""
    if not isinstance(found, list) or not all(isinstance(value, LogProb) and math.isfinite(value) for value in found):
        return False
    return [value.num_tokens for value in found] == [len(sequence.tokens) - sequence.start for sequence in item]


def _launch(
    lm: Decoder, group: Sequence[list[TokenSequence]], prefix: DynamicCache | None
) -> Callable[[], list[list[LogProb]]]:
    """Begin to score the answers of items that share a forward pass; return what fetches their log-probabilities."""
    return partial(_fetch, lm, group, answer_logprobs(lm, [sequence for item in group for sequence in item], prefix))


def _fetch(lm: Decoder, group: Sequence[list[TokenSequence]], scores: Tensor) -> list[list[LogProb]]:
    # One wait a row: the check reads what has been fetched.
    values = iter(lm.require_finite(scores.cpu()).tolist())
    return [[LogProb(next(values), len(s.tokens) - s.start) for s in item] for item in group]


def _shared_prefix(lm: Decoder, items: Sequence[Sequence[TokenSequence]]) -> DynamicCache | None:
    """Return the keys and values of the beginning that all sequences share, or None where it is short."""
    sequences = [sequence for item in items for sequence in item]
    if lm.batching != "packed" or not sequences or (length := shared_prefix_length(sequences)) < MIN_CACHED_PREFIX:
        return None
    return cache_prefix(lm, sequences[0].tokens[:length])
