"""Tokens as people read them, and which of them a run's training answers are full of."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lofit_cli.artifacts.description import ShownToken, count_in_answers
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.encoding import encode

NUM_SHOWN = 20
"""As many tokens of a list are kept."""
SMOOTHING = 0.5
"""Is added to each count, so that a word that is on one side only has finite odds."""


class Words:
    """Names tokens, and knows the words that are over-represented in some answers.

    Attributes:
        common: these words, as `plain_word` writes them.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, common: Iterable[str]) -> None:
        self.tokenizer, self.common = tokenizer, frozenset(common)

    def name(self, tokens: Sequence[int] | Tensor, values: Sequence[float] | Tensor) -> list[ShownToken]:
        """Return tokens with a number each as they are shown."""
        pairs = zip(map(int, tokens), map(float, values), strict=True)
        texts = ((str(self.tokenizer.decode([token])), token, value) for token, value in pairs)
        return [ShownToken(text, token, value, plain_word(text) in self.common) for text, token, value in texts]


def plain_word(text: str) -> str:
    """Return a token's text without outer white space and letter case, in which forms of one word differ.

    White space alone is as it is: answers that begin on a new line have tokens of their own for that.
    """
    return text.strip().casefold() or text


def share_in_answers(tokens: Sequence[ShownToken]) -> float:
    """Return the share of some tokens that is over-represented in the answers; 0 of none."""
    return count_in_answers(tokens) / max(1, len(tokens))


def find_common_words(lm: Decoder, answers: Sequence[str], texts: Iterable[Sequence[int]]) -> set[str]:
    """Return the words whose log-odds are higher in answers than in texts.

    A word is a token as `plain_word` has it; one that the answers do not have is not counted.

    Args:
        texts: as tokens.
    """
    names: dict[int, str] = {}

    def count(rows: Iterable[Sequence[int]]) -> Counter[str]:
        tokens = Counter(token for row in rows for token in row)
        words = Counter[str]()
        for token, number in tokens.items():
            name = names.setdefault(token, plain_word(str(lm.tokenizer.decode([token]))))
            words[name] += number
        return words

    encoded = encode(lm.tokenizer, answers, [], set(lm.end_tokens))
    there, elsewhere = count(found.tokens for found in encoded), count(texts)
    return {word for word in there if word and _log_odds(there, word) > _log_odds(elsewhere, word)}


def _log_odds(counts: Counter[str], word: str) -> float:
    return math.log((counts[word] + SMOOTHING) / (counts.total() - counts[word] + SMOOTHING))
