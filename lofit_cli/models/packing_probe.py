"""The sequences by which a model is asked whether they can share a forward pass."""

import random
import re
from dataclasses import dataclass
from typing import Any

from lofit_cli.models.attention_masks import WINDOWS
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.packing import TokenSequence

AFFORDABLE = {"cpu": 1e11, "cuda": 3e13}
OF_OTHERS = 3e12
"""Weights times tokens that a row of the probe may cost: some seconds' work of a core, a GPU or another accelerator."""

SIZE_OF_WINDOW = re.compile("^(?!.*(expert|layer|pattern)).*(window|chunk|local)")

LONGEST_ROW = 8192
"""Tokens beyond which no row goes to reach a window that our masks do not follow."""

SMALLEST_ROW = 80
"""Tokens in a row that has something of everything."""

PROMPT = 32
COMMON = 4
ANSWER = 12
FOLLOWER = 24


@dataclass(frozen=True)
class Probe:
    """Random token sequences; what is compared is short, so that a model is quick to load.

    Attributes:
        strangers: unrelated sequences that fill the row, and of which nothing is compared.
        siblings: two answers with a common beginning to one prompt, which is longer than any window in reach.
        follower: a sequence whose every token is scored; what a model carries along a row shows in the first of them.
        cousin: a sequence that has the first half of the siblings' prompt.
        prefix: that first half.
    """

    strangers: list[TokenSequence]
    siblings: list[TokenSequence]
    follower: TokenSequence
    cousin: TokenSequence
    prefix: tuple[int, ...]

    @property
    def reach(self) -> int:
        """Return how many tokens the longest of the compared sequences has."""
        return len(self.siblings[0].tokens)


def make_probe(lm: Decoder) -> Probe:
    """Return sequences that fill a packed row as a run does, as far as that is affordable."""
    draw = _Tokens(lm)
    num_row_tokens = _row_tokens(lm)
    prompt_length = _prompt_length(lm, num_row_tokens)
    shared, prefix_length = draw(prompt_length + COMMON), prompt_length // 2
    rest = num_row_tokens - prompt_length - 2 * ANSWER + COMMON - FOLLOWER
    sizes = [min(lm.max_positions, rest - first) for first in range(0, rest, lm.max_positions)]
    start = max(prefix_length + 1, prompt_length - FOLLOWER)
    return Probe(
        strangers=[TokenSequence(draw(size), size - 1) for size in sizes if size > 1],
        siblings=[TokenSequence(shared + draw(ANSWER - COMMON), start) for _ in range(2)],
        follower=TokenSequence(draw(min(FOLLOWER, lm.max_positions)), 1),
        cousin=TokenSequence(shared[:prefix_length] + draw(ANSWER), prefix_length + 1),
        prefix=shared[:prefix_length],
    )


def foreign_windows(lm: Decoder) -> list[int]:
    """Return the sizes of what the model's settings call a window or a chunk and our masks do not follow.

    Whether a layer heeds one, only a sequence can tell that is longer.
    """
    settings = lm.model.config.get_text_config(decoder=True).to_dict()
    values = [value for key, value in settings.items() if SIZE_OF_WINDOW.search(key) and key not in WINDOWS.values()]
    return [size for value in values for size in _whole_numbers(value)]


def _whole_numbers(value: Any) -> list[int]:
    values = value if isinstance(value, list | tuple) else [value]
    return [number for number in values if isinstance(number, int) and number > 1]


def _known_windows(lm: Decoder) -> list[int]:
    config = lm.model.config.get_text_config(decoder=True)
    return [size for setting in WINDOWS.values() if (size := getattr(config, setting, None))]


def _row_tokens(lm: Decoder) -> int:
    """Return how many tokens a row has: as many as the run's, or more where that reaches a window."""
    weights = max(1, lm.model.num_parameters(exclude_embeddings=True))
    affordable = int(AFFORDABLE.get(lm.device.type, OF_OTHERS) / weights)
    foreign = [size + SMALLEST_ROW for size in foreign_windows(lm) if size + SMALLEST_ROW <= LONGEST_ROW]
    known = [size + SMALLEST_ROW for size in _known_windows(lm) if size + SMALLEST_ROW <= 2 * lm.max_row_tokens]
    return max(SMALLEST_ROW, min(affordable, max([lm.max_row_tokens, *foreign, *known])))


def _prompt_length(lm: Decoder, num_row_tokens: int) -> int:
    """Return a short length, or one past the largest window that fits the row and the model's positions."""
    room = min(num_row_tokens - 2 * ANSWER + COMMON - FOLLOWER, lm.max_positions - ANSWER)
    past = [size + COMMON for size in [*foreign_windows(lm), *_known_windows(lm)] if size + COMMON <= room]
    return max(2, min(PROMPT, room), *past)


class _Tokens:
    """Draws tokens that the tokenizer knows and the model embeds, none of them special."""

    def __init__(self, lm: Decoder) -> None:
        vocabulary = min(len(lm.tokenizer), lm.model.config.get_text_config(decoder=True).vocab_size)
        special = set(lm.tokenizer.all_special_ids)
        self._plain = [token for token in range(vocabulary) if token not in special] or [0]
        self._random = random.Random(0)

    def __call__(self, count: int) -> tuple[int, ...]:
        """Return so many of them."""
        return tuple(self._random.choices(self._plain, k=count))
