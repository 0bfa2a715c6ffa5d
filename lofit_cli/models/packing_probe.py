"""The sequences by which a model is asked whether they can share a forward pass."""

import random
from dataclasses import dataclass
from typing import Any

from lofit_cli.models.attention_masks import WINDOWS
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.packing import TokenSequence

AFFORDABLE = {"cpu": 1e11, "cuda": 3e13}
"""Weights times tokens that a row of the probe may cost: some seconds' work of a core or a GPU."""

SMALLEST_ROW = 64
"""Tokens in a row that has something of everything."""

NUM_SCORED = 24
NUM_COMMON = 4
NUM_ANSWER = 12


@dataclass(frozen=True)
class Probe:
    """Random token sequences; what is compared is short, so that a model is quick to load.

    Attributes:
        strangers: unrelated sequences that fill the row, and of which nothing is compared.
        siblings: two answers with a common beginning to one prompt, which is longer than any window in reach.
        follower: a sequence whose every token is scored; what a model carries along a row shows in the first of them.
        twin: the follower up to its middle, then other tokens.
        cousin: a sequence that has the first half of the siblings' prompt.
        prefix: that first half.
        reach: how many tokens the longest sequence has.
    """

    strangers: list[TokenSequence]
    siblings: list[TokenSequence]
    follower: TokenSequence
    twin: TokenSequence
    cousin: TokenSequence
    prefix: tuple[int, ...]
    reach: int


def make_probe(lm: Decoder, num_row_tokens: int) -> Probe:
    """Return sequences that fill one packed row of so many tokens."""
    draw = _Tokens(lm)
    prompt_length = _prompt_length(lm, num_row_tokens)
    prompt, common = draw(prompt_length), draw(NUM_COMMON)
    scored = min(NUM_SCORED, lm.max_positions)
    half = scored // 2
    follower, prefix = draw(scored), prompt[: prompt_length // 2]
    siblings = [TokenSequence(prompt + common + draw(NUM_ANSWER - NUM_COMMON), prompt_length) for _ in range(2)]
    rest = num_row_tokens - prompt_length - 2 * NUM_ANSWER + NUM_COMMON - scored
    sizes = [min(lm.max_positions, rest - first) for first in range(0, rest, lm.max_positions)]
    return Probe(
        strangers=[TokenSequence(draw(size), size - 1) for size in sizes if size > 1],
        siblings=siblings,
        follower=TokenSequence(follower, 1),
        twin=TokenSequence(follower[:half] + draw(scored - half), 1),
        cousin=TokenSequence(prefix + draw(NUM_ANSWER), len(prefix) + 1),
        prefix=prefix,
        reach=max(len(siblings[0].tokens), scored),
    )


def row_tokens(lm: Decoder) -> int:
    """Return how many tokens a row of the probe has: a row of the run's, or what reaches a window not much larger."""
    weights = max(1, lm.model.num_parameters(exclude_embeddings=True))
    affordable = int(AFFORDABLE.get(lm.model.device.type, AFFORDABLE["cpu"]) / weights)
    past_windows = [size + SMALLEST_ROW + NUM_COMMON for size in window_sizes(lm)]
    in_reach = [length for length in past_windows if length <= min(affordable, 2 * lm.max_row_tokens)]
    return max(SMALLEST_ROW, min(affordable, lm.max_row_tokens), *in_reach)


def window_sizes(lm: Decoder, foreign_only: bool = False) -> list[int]:
    """Return the sizes of all that the model's settings call a window, a chunk or local.

    Args:
        foreign_only: leave out those that our masks follow.
    """
    settings = lm.model.config.get_text_config(decoder=True).to_dict()
    return [
        size
        for key, value in settings.items()
        if any(word in key for word in ("window", "chunk", "local")) and not (foreign_only and key in WINDOWS.values())
        for size in _whole_numbers(value)
    ]


def _whole_numbers(value: Any) -> list[int]:
    values = value if isinstance(value, list | tuple) else [value]
    return [number for number in values if isinstance(number, int) and not isinstance(number, bool)]


def _prompt_length(lm: Decoder, num_row_tokens: int) -> int:
    """Return a short length, or one past the largest window that fits the row and the model's positions."""
    room = min(num_row_tokens - SMALLEST_ROW, lm.max_positions - NUM_ANSWER)
    past = [size + NUM_COMMON for size in window_sizes(lm) if size + NUM_COMMON <= room]
    return max(min(num_row_tokens, lm.max_positions, 4 * SMALLEST_ROW) // 4, *past, 2)


class _Tokens:
    """Draws tokens that are in the tokenizer and in the embeddings, none of them special."""

    def __init__(self, lm: Decoder) -> None:
        vocabulary = min(len(lm.tokenizer), lm.model.config.get_text_config(decoder=True).vocab_size)
        special = set(lm.tokenizer.all_special_ids)
        self._plain = [token for token in range(vocabulary) if token not in special] or [0]
        self._random = random.Random(0)

    def __call__(self, count: int) -> tuple[int, ...]:
        """Return so many of them."""
        return tuple(self._random.choices(self._plain, k=count))
