"""Calls of `model.generate` on token sequences in one batch, padded so that all end together."""

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
from transformers.generation.streamers import BaseStreamer

from lofit_cli.models.decoder import Decoder
from lofit_cli.models.hooks import hooked_call
from lofit_cli.schema.limits import ANSWER, FAR

Write = Callable[[str], None]
"""Takes the text that has been generated so far."""


def continue_texts(
    lm: Decoder,
    sequences: Sequence[list[int]],
    max_new_tokens: int,
    prefix: DynamicCache | None,
    one_line: bool,
    write: Write | None = None,
) -> list[str]:
    """Return the text that the model puts after each prompt, greedily, up to the end of its turn.

    Args:
        prefix: the cache of a beginning that all prompts share.
        one_line: stop once there is a line that has any text.
        write: called with the text so far, again and again; for one prompt.

    Raises:
        RunError: the likeliest token's logit is not finite.
    """
    said = continue_tokens(lm, sequences, max_new_tokens, prefix, one_line, write)
    answers = [_up_to_end(row, lm.end_tokens) for row in said]
    texts: list[str] = lm.tokenizer.batch_decode(answers, skip_special_tokens=True)
    return texts


def continue_tokens(
    lm: Decoder,
    sequences: Sequence[list[int]],
    max_new_tokens: int,
    prefix: DynamicCache | None = None,
    one_line: bool = False,
    write: Write | None = None,
) -> list[list[int]]:
    """Return the tokens of the same, with the one that ends the turn where there is one."""
    padded = _pad_after_prefix(sequences, _length(prefix))
    tokens, attended = (values.to(lm.device) for values in padded)
    ends = lm.end_tokens
    settings = GenerationConfig(
        do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=ends or None, pad_token_id=ends[0] if ends else 0
    )
    generate: Any = lm.model.generate
    with torch.inference_mode(), _plainly_greedy(lm.model), _following(lm, attended):
        generated: Tensor = generate(
            input_ids=tokens,
            attention_mask=attended,
            past_key_values=_repeat(prefix, len(sequences)),
            generation_config=settings,
            logits_processor=LogitsProcessorList([_Finite(lm)]),
            streamer=_Stream(lm, ends, write) if write else None,
            stopping_criteria=StoppingCriteriaList([_LineEnd(lm.tokenizer, tokens.shape[1])] if one_line else []),
        )
    rows: list[list[int]] = generated[:, tokens.shape[1] :].tolist()
    return [row[: len(_up_to_end(row, ends)) + 1] for row in rows]


def forced_logprobs(
    lm: Decoder,
    sequences: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[int]],
    prefix: DynamicCache | None,
) -> Tensor:
    """Return the log-probabilities that generation has of given tokens after each prompt.

    Args:
        continuations: equally many tokens for each prompt, which generation is made to take.

    Returns:
        (num_sequences, num_tokens), float32.
    """
    tokens, attended = (t.to(lm.device) for t in _pad_after_prefix(sequences, _length(prefix)))
    forced = torch.tensor(continuations, device=tokens.device)
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=forced.shape[1],
        output_logits=True,
        return_dict_in_generate=True,
        pad_token_id=0,
    )
    generate: Any = lm.model.generate
    with _plainly_greedy(lm.model):
        found = generate(
            input_ids=tokens,
            attention_mask=attended,
            past_key_values=_repeat(prefix, len(sequences)),
            generation_config=settings,
            logits_processor=LogitsProcessorList([_Forced(forced, tokens.shape[1])]),
        )
    log_probs = torch.stack(found.logits, dim=1).float().log_softmax(dim=-1)
    return log_probs.gather(-1, forced[..., None]).squeeze(-1)


def _length(prefix: DynamicCache | None) -> int:
    return 0 if prefix is None else prefix.get_seq_length()


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


@contextmanager
def _following(lm: Decoder, attended: Tensor) -> Iterator[None]:
    """State where tokens stand, pass by pass, while `model.generate` runs on prompts that end together.

    Args:
        attended: (batch, longest prompt), 1 at tokens and 0 at pads.
    """
    num_pads = (attended == 0).sum(dim=1, keepdim=True)
    with lm.token_positions.each_pass() as state:

        def follow(inputs: dict[str, Any]) -> None:
            num_past = _length(inputs.get("past_key_values"))
            index = torch.arange(num_past, num_past + inputs["input_ids"].shape[1], device=attended.device)
            positions = (index - num_pads).clamp(min=0)
            distances = (attended.shape[1] - 1 - index).clamp(ANSWER, FAR)
            state(positions, distances.expand_as(positions))

        with hooked_call(lm.model, follow, first=True):
            yield


def _repeat(prefix: DynamicCache | None, num_rows: int) -> DynamicCache | None:
    """Return a copy of the cache for a batch of this size, which generation may extend."""
    if prefix is None:
        return None
    cache = copy.deepcopy(prefix)
    cache.batch_repeat_interleave(num_rows)
    return cache


def _pad_after_prefix(sequences: Sequence[Sequence[int]], prefix_length: int) -> tuple[Tensor, Tensor]:
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


class _Stream(BaseStreamer):
    """Tells the text so far of the one sequence that is generated."""

    def __init__(self, lm: Decoder, ends: Sequence[int], write: Write) -> None:
        self.lm, self.ends, self.write = lm, ends, write
        self._tokens: list[int] | None = None

    def put(self, value: Tensor) -> None:
        """Take the prompt, which comes first and is not told, and then a token at a time."""
        if self._tokens is None:
            self._tokens = []
            return
        self._tokens += value.tolist()
        text = str(self.lm.tokenizer.decode(_up_to_end(self._tokens, self.ends), skip_special_tokens=True))
        # A character of several tokens can't be read before its last one.
        self.write(text.rstrip("\ufffd"))

    def end(self) -> None:
        """Do nothing: the last token has been told."""


class _Finite(LogitsProcessor):
    """Refuses logits among which there is no likeliest, and changes none."""

    def __init__(self, lm: Decoder) -> None:
        self.lm = lm

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.lm.require_finite(scores.amax(dim=-1))
        return scores


class _Forced(LogitsProcessor):
    """Leaves one token to choose in each place."""

    def __init__(self, tokens: Tensor, prompt_length: int) -> None:
        self.tokens = tokens
        self.prompt_length = prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        place = input_ids.shape[1] - self.prompt_length
        return torch.full_like(scores, -torch.inf).scatter(1, self.tokens[:, place : place + 1], 0)


class _LineEnd(StoppingCriteria):
    """Ends a sequence once it has a line with text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt_length: int) -> None:
        self.tokenizer = tokenizer
        self.prompt_length = prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: object) -> Tensor:
        texts = self.tokenizer.batch_decode(input_ids[:, self.prompt_length :])
        return torch.tensor(["\n" in text.lstrip() for text in texts], device=input_ids.device)
