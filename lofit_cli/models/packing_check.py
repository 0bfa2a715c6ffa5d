"""Whether a model can be given rows of several sequences."""

import inspect

import torch

from lofit_cli.console import say
from lofit_cli.models.forward import packed_logprobs, padded_batch_logprobs
from lofit_cli.models.language_model import Batching, LanguageModel
from lofit_cli.models.packing import TokenSequence

OUR_WINDOWS = {"sliding_window", "sliding_window_pattern", "use_sliding_window", "max_window_layers"}
"""Settings of a model's attention windows that our masks follow; a window by another name is not understood."""

LOW_PRECISION_ERROR = 0.15
"""Nats by which rounding to half precision may move one token's log-probability; a wrong mask moves it further."""


def choose_batching(lm: LanguageModel) -> Batching:
    """Return the fastest way of sharing forward passes that changes no result, saying so where it is a slower one."""
    if _can_pack(lm):
        return "packed"
    say(f"model '{lm.id}' takes no attention mask of ours: falling back to padded batches, which are slower")
    return "padded"


def _can_pack(lm: LanguageModel) -> bool:
    """Return whether the model scores a packed row as it scores its sequences one by one.

    Some families build their own positions (ALiBi) or their own mask (a local window counted along the row) and can't
    take ours. Most of them say so; a long row tells the rest.
    """
    settings = lm.model.config.get_text_config(decoder=True).to_dict()
    foreign_windows = {key.lstrip("_") for key in settings if "window" in key and settings[key]} - OUR_WINDOWS
    if foreign_windows or "position_ids" not in inspect.signature(lm.model.forward).parameters:
        return False
    probe = _probe(len(lm.tokenizer), min(lm.max_row_tokens, lm.max_positions))
    with torch.inference_mode():
        try:
            packed = packed_logprobs(lm, probe, None)
        except (ValueError, TypeError, RuntimeError, IndexError):
            return False
        alone = torch.cat([padded_batch_logprobs(lm, [sequence]) for sequence in probe])
        rounding = (padded_batch_logprobs(lm, probe) - alone).abs().max()
    num_scored = max(len(sequence.tokens) - sequence.start for sequence in probe)
    floor = 1e-3 if lm.model.dtype == torch.float32 else LOW_PRECISION_ERROR * num_scored**0.5
    return bool((packed - alone).abs().max() <= floor + 2 * rounding)


def _probe(vocabulary: int, num_tokens: int) -> list[TokenSequence]:
    """Return a short sequence, a long one that fills the row, and one that shares half of the long one's tokens."""
    length = max(12, num_tokens // 2)
    long, other = (tuple((vocabulary // n + 7 * i) % vocabulary for i in range(length)) for n in (2, 3))
    half = length // 2
    return [TokenSequence(other[:11], 6), TokenSequence(long, half), TokenSequence(long[:half] + other[half:], half)]
