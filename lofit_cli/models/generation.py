"""Greedy answers to prompts, in padded batches behind the beginning that all prompts share."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from lofit_cli.models.attention_masks import reached_windows
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.forward import cache_prefix
from lofit_cli.models.logprobs import MIN_CACHED_PREFIX, require_finite
from lofit_cli.models.packing import common_length
from lofit_cli.schema.checks import FAR

MIN_SHARING = 2
"""A prompt alone shares its beginning with none."""

MAX_KEPT_ROWS = 4
"""Keys and values that a batch may keep, in units of `max_row_tokens`: rows share a prefix's work, not its memory."""

NUM_COMPARED = 16
"""Tokens whose log-probabilities tell two ways of generating apart."""


def generate_lines(
    lm: Decoder,
    prompts: Sequence[str],
    max_new_tokens: int,
    report: Callable[[int], None] = lambda num_prompts: None,
) -> list[str]:
    """Return what the model says after each prompt, greedily, up to the first end of a line that has any text.

    Args:
        report: called with the number of prompts done after each batch.

    Raises:
        RunError: the likeliest token's logit is not finite.
    """
    return [first_line(text) for text in generate_texts(lm, prompts, max_new_tokens, report, one_line=True)]


def generate_texts(
    lm: Decoder,
    prompts: Sequence[str],
    max_new_tokens: int,
    report: Callable[[int], None] = lambda num_prompts: None,
    one_line: bool = False,
) -> list[str]:
    """Return what the model says after each prompt, greedily, up to the end of its turn.

    Prompts of similar length share a batch, and a beginning that all prompts share is computed once; the result
    depends on neither.

    Args:
        report: called with the number of prompts done after each batch.
        one_line: stop once there is a line that has any text.

    Raises:
        ItemError: a prompt has no token, or more than the model has positions.
        RunError: the likeliest token's logit is not finite.
    """
    sequences: list[list[int]] = [lm.tokenizer(prompt)["input_ids"] for prompt in prompts]
    lm.require_positions([len(sequence) + max_new_tokens for sequence in sequences])
    prefix = _shared_prefix(lm, sequences, max_new_tokens)
    order = sorted(range(len(prompts)), key=lambda i: -len(sequences[i]))
    texts = [""] * len(prompts)
    while order:
        batch_size = _batch_size(lm, len(sequences[order[0]]) + max_new_tokens, prefix)
        batch, order = order[:batch_size], order[batch_size:]
        found = _generate(lm, [sequences[i] for i in batch], max_new_tokens, prefix, one_line)
        for i, text in zip(batch, found, strict=True):
            texts[i] = text
        report(len(batch))
    return texts


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


def first_logprobs(lm: Decoder, sequences: Sequence[list[int]], prefix: DynamicCache | None) -> list[Tensor]:
    """Return the log-probabilities of some tokens in the first two places after each prompt, as generation has them."""
    tokens, attended = (t.to(lm.model.device) for t in _pad_after_prefix(sequences, _length(prefix)))
    settings = GenerationConfig(
        do_sample=False, max_new_tokens=2, output_logits=True, return_dict_in_generate=True, pad_token_id=0
    )
    generate: Any = lm.model.generate
    with _plainly_greedy(lm.model):
        found = generate(
            input_ids=tokens,
            attention_mask=attended,
            past_key_values=_repeat(prefix, len(sequences)),
            generation_config=settings,
        )
    log_probs = torch.stack(found.logits, dim=1).float().log_softmax(dim=-1)
    return [row.flatten() for row in log_probs[..., :: max(1, log_probs.shape[-1] // NUM_COMPARED)]]


def _length(prefix: DynamicCache | None) -> int:
    return 0 if prefix is None else prefix.get_seq_length()


def _batch_size(lm: Decoder, num_tokens: int, prefix: DynamicCache | None) -> int:
    """Return how many prompts of `num_tokens`, with their answers, fit a batch: by their new tokens, and by memory."""
    if lm.batching == "single":
        return 1
    if prefix is None:
        return max(1, lm.max_row_tokens // num_tokens)
    computed = lm.max_row_tokens // (num_tokens - prefix.get_seq_length())
    return max(1, min(computed, MAX_KEPT_ROWS * lm.max_row_tokens // num_tokens))


def _generate(
    lm: Decoder, sequences: Sequence[list[int]], max_new_tokens: int, prefix: DynamicCache | None, one_line: bool
) -> list[str]:
    padded = _pad_after_prefix(sequences, _length(prefix))
    tokens, attended = (values.to(lm.model.device) for values in padded)
    ends = lm.end_tokens
    settings = GenerationConfig(
        do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=ends or None, pad_token_id=ends[0] if ends else 0
    )
    generate: Any = lm.model.generate
    with torch.inference_mode(), _plainly_greedy(lm.model), lm.token_positions.follow(lm.model, attended):
        generated: Tensor = generate(
            input_ids=tokens,
            attention_mask=attended,
            past_key_values=_repeat(prefix, len(sequences)),
            generation_config=settings,
            logits_processor=LogitsProcessorList([_Finite()]),
            stopping_criteria=StoppingCriteriaList([_LineEnd(lm.tokenizer, tokens.shape[1])] if one_line else []),
        )
    answers = [_up_to_end(row, ends) for row in generated[:, tokens.shape[1] :].tolist()]
    texts: list[str] = lm.tokenizer.batch_decode(answers, skip_special_tokens=True)
    return texts


def _up_to_end(tokens: list[int], ends: Sequence[int]) -> list[int]:
    """Return the tokens before the first that ends a turn; not every such token is one that decoding leaves out."""
    return tokens[: next((i for i, token in enumerate(tokens) if token in ends), len(tokens))]


@contextmanager
def _plainly_greedy(model: PreTrainedModel) -> Iterator[None]:
    """Set aside the model's own generation settings, such as a repetition penalty, which would fill in for ours."""
    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


def _repeat(prefix: DynamicCache | None, num_rows: int) -> DynamicCache | None:
    """Return a copy of the cache for a batch of this size, which generation may extend."""
    if prefix is None:
        return None
    cache = copy.deepcopy(prefix)
    cache.batch_repeat_interleave(num_rows)
    return cache


def _pad_after_prefix(sequences: Sequence[list[int]], prefix_length: int) -> tuple[Tensor, Tensor]:
    """Return tokens and attention mask, both (batch, longest), padded so that all prompts end together.

    The padding stands after the prefix, or on the left where there is none.
    """
    longest = max(len(sequence) for sequence in sequences)
    tokens = torch.zeros(len(sequences), longest, dtype=torch.long)
    attended = torch.zeros_like(tokens)
    for row, sequence in enumerate(sequences):
        rest = longest - len(sequence) + prefix_length
        tokens[row, :prefix_length] = torch.tensor(sequence[:prefix_length], dtype=torch.long)
        tokens[row, rest:] = torch.tensor(sequence[prefix_length:])
        attended[row, :prefix_length] = attended[row, rest:] = 1
    return tokens, attended


class _Finite(LogitsProcessor):
    """Refuses logits among which there is no likeliest, and changes none."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        require_finite(scores.amax(dim=-1))
        return scores


class _LineEnd(StoppingCriteria):
    """Ends a sequence once it has a line with text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt_length: int) -> None:
        self.tokenizer = tokenizer
        self.prompt_length = prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: object) -> Tensor:
        texts = self.tokenizer.batch_decode(input_ids[:, self.prompt_length :])
        return torch.tensor(["\n" in text.lstrip() for text in texts], device=input_ids.device)
