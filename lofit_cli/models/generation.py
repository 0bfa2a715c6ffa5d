"""Greedy answers to prompts, in padded batches behind the beginning that all prompts share."""

from collections.abc import Callable, Sequence

import torch
from transformers import DynamicCache

from lofit_cli.artifacts.outcomes import Outcomes
from lofit_cli.errors import ItemError, naming_item
from lofit_cli.models.attention_masks import reached_windows
from lofit_cli.models.continuation import Write, continue_texts, continue_tokens
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.forward import MIN_CACHED_PREFIX, cache_prefix
from lofit_cli.models.packing import common_length
from lofit_cli.prompts import Prompt, as_prompt
from lofit_cli.schema.limits import FAR

MIN_SHARING = 2
"""A prompt alone shares its beginning with none."""

MAX_KEPT_ROWS = 4
"""Keys and values that a batch may keep, in units of `max_row_tokens`: rows share a prefix's work, not its memory."""


def generate_lines(
    lm: Decoder,
    prompts: Sequence[str | Prompt],
    max_new_tokens: int,
    report: Callable[[int], None] = lambda num_prompts: None,
    known: Outcomes | None = None,
) -> list[str]:
    """Return what the model says after each prompt, greedily, up to the first end of a line that has any text.

    Args:
        report: called with the number of prompts done after each batch.
        known: what was said before, and takes in what is said now.

    Raises:
        RunError: the likeliest token's logit is not finite.
    """
    return [first_line(text) for text in generate_texts(lm, prompts, max_new_tokens, report, True, None, known)]


def generate_texts(
    lm: Decoder,
    prompts: Sequence[str | Prompt],
    max_new_tokens: int,
    report: Callable[[int], None] = lambda num_prompts: None,
    one_line: bool = False,
    write: Write | None = None,
    known: Outcomes | None = None,
) -> list[str]:
    """Return what the model says after each prompt, greedily, up to the end of its turn.

    Prompts of similar length share a batch, and a beginning that all prompts share is computed once; the result
    depends on neither.

    Args:
        report: called with the number of prompts done after each batch.
        one_line: stop once there is a line that has any text.
        write: called with the text so far, again and again; for one prompt.
        known: the texts that were generated before; takes in those that are generated now.

    Raises:
        ItemError: a prompt has no token, or more than the model has positions.
        RunError: the likeliest token's logit is not finite.
    """
    sequences = encode_prompts(lm, prompts)
    lm.require_positions([len(sequence) + max_new_tokens for sequence in sequences])
    prefix = _shared_prefix(lm, sequences, max_new_tokens)
    texts = Outcomes() if known is None else known
    texts.keep(len(prompts), lambda number, found: isinstance(found, str))

    def generate(batch: Sequence[int]) -> list[str]:
        return continue_texts(lm, [sequences[i] for i in batch], max_new_tokens, prefix, one_line, write)

    return texts.complete(
        _batches(lm, [len(sequence) for sequence in sequences], max_new_tokens, prefix), generate, report
    )


def generate_tokens(
    lm: Decoder, sequences: Sequence[list[int]], max_new_tokens: int, report: Callable[[int], None]
) -> list[list[int]]:
    """Return the tokens that the model says after each prompt's, greedily, with the one that ends its turn if it does.

    Args:
        sequences: the tokens of the prompts, as `encode_prompts` gives them.
        report: called with the number of prompts done after each batch.

    Raises:
        ItemError: a prompt has more tokens, with those to come, than the model has positions.
        RunError: the likeliest token's logit is not finite.
    """
    lm.require_positions([len(sequence) + max_new_tokens for sequence in sequences])
    said: dict[int, list[int]] = {}
    for batch in _batches(lm, [len(sequence) for sequence in sequences], max_new_tokens, None):
        said |= zip(batch, continue_tokens(lm, [sequences[i] for i in batch], max_new_tokens), strict=True)
        report(len(batch))
    return [said[number] for number in range(len(sequences))]


def _batches(
    lm: Decoder, lengths: Sequence[int], max_new_tokens: int, prefix: DynamicCache | None
) -> list[Sequence[int]]:
    """Return the numbers of the prompts that share a batch, the longest first."""
    batches, order = list[Sequence[int]](), sorted(range(len(lengths)), key=lambda i: -lengths[i])
    while order:
        batch_size = _batch_size(lm, lengths[order[0]] + max_new_tokens, prefix)
        batches.append(order[:batch_size])
        order = order[batch_size:]
    return batches


def encode_prompts(lm: Decoder, prompts: Sequence[str | Prompt]) -> list[list[int]]:
    """Return the tokens of each prompt that is to be continued.

    Raises:
        ItemError: a prompt has no token, or no text.
    """
    texts = []
    for index, prompt in enumerate(prompts):
        with naming_item(index):
            texts.append(lm.prompt_text(as_prompt(prompt)))
    sequences = [text.tokens for text in lm.encode(texts)]
    if [] in sequences:
        raise ItemError(sequences.index([]), "has no token in its prompt; give it some text")
    return sequences


def first_line(text: str) -> str:
    """Return the first line that has any text, without outer white space."""
    return text.strip().split("\n")[0].strip()


def _shared_prefix(lm: Decoder, sequences: Sequence[list[int]], max_new_tokens: int) -> DynamicCache | None:
    """Return the keys and values of the beginning that all prompts share; None where it is short or can't be."""
    if lm.batching != "packed" or len(sequences) < MIN_SHARING:
        return None
    length = min(common_length(sequences), min(len(sequence) for sequence in sequences) - FAR)
    if length < MIN_CACHED_PREFIX or not can_share_prefix(lm, max(map(len, sequences)) + max_new_tokens):
        return None
    with torch.inference_mode():
        return cache_prefix(lm, sequences[0][:length])


def can_share_prefix(lm: Decoder, num_tokens: int) -> bool:
    """Return whether prompts that grow to so many tokens can be continued behind one cached beginning.

    Padding stands between the beginning and the rest of a prompt, so an attention window that counts places in the row
    would lose sight of some tokens; where no window is reached, it makes no difference.
    """
    return not reached_windows(lm.model.config.get_text_config(decoder=True), num_tokens)


def _batch_size(lm: Decoder, num_tokens: int, prefix: DynamicCache | None) -> int:
    """Return how many prompts of `num_tokens`, with their answers, fit a batch: by their new tokens, and by memory."""
    if lm.batching == "single":
        return 1
    if prefix is None:
        return max(1, lm.max_row_tokens // num_tokens)
    computed = lm.max_row_tokens // (num_tokens - prefix.get_seq_length())
    return max(1, min(computed, MAX_KEPT_ROWS * lm.max_row_tokens // num_tokens))
