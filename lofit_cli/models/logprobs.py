"""The one function behind training and scoring: the summed log-probability of answers to prompts."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import DynamicCache

from lofit_cli.errors import RunError
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.forward import cache_prefix, packed_logprobs, padded_logprobs
from lofit_cli.models.packing import Prompted, TokenSequence, group_rows, shared_prefix_length, tokenize

MIN_CACHED_PREFIX = 16
"""A shared beginning shorter than this many tokens is cheaper to compute again than to keep."""


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


def tokenize_items(lm: Decoder, items: Sequence[Prompted], append_eos: bool = False) -> list[list[TokenSequence]]:
    """Return, for each item, the token sequences of its answers.

    Raises:
        ItemError: a prompt or an answer has no token, or both together have more than the model has positions.
    """
    tokenized = tokenize(lm.tokenizer, items, append_eos)
    lm.require_positions([max((len(s.tokens) for s in sequences), default=0) for sequences in tokenized])
    return tokenized


def require_finite(log_probs: Tensor) -> Tensor:
    """Refuse log-probabilities or logits of which one is not finite."""
    if not bool(log_probs.isfinite().all()):
        raise RunError("the model gives log-probabilities that are not finite; use model.dtype=float32, or train anew")
    return log_probs


def score_answers(
    lm: Decoder, items: Sequence[Prompted], report: Callable[[int], None] = lambda num_items: None
) -> list[list[float]]:
    """Return the log-probability of every answer of every item, computing a prompt shared by all of them once.

    Args:
        report: called with the number of items done after each forward pass.

    Raises:
        RunError: a log-probability is not finite.
    """
    tokenized = tokenize_items(lm, items)
    scores: list[list[float]] = []
    with torch.inference_mode():
        prefix = _shared_prefix(lm, tokenized)
        prefix_length = 0 if prefix is None else prefix.get_seq_length()
        for group in group_rows(tokenized, lm.max_row_tokens, prefix_length):
            flat = [sequence for item in group for sequence in item]
            values = iter(require_finite(answer_logprobs(lm, flat, prefix)).tolist())
            scores.extend([next(values) for _ in item] for item in group)
            report(len(group))
    return scores


def _shared_prefix(lm: Decoder, items: Sequence[Sequence[TokenSequence]]) -> DynamicCache | None:
    """Return the keys and values of the beginning that all sequences share, or None where it is short."""
    sequences = [sequence for item in items for sequence in item]
    if lm.batching != "packed" or not sequences or (length := shared_prefix_length(sequences)) < MIN_CACHED_PREFIX:
        return None
    return cache_prefix(lm, sequences[0].tokens[:length])
