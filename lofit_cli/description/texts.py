"""Texts that an edit is described on, as tokens."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from lofit_cli.errors import ItemError, UserError, beginning
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.encoding import encode, first_tokens
from lofit_cli.schema.limits import FIRST_TOKENS

MAX_TOKENS = 128
"""Of a longer text, its beginning is read."""


@dataclass(frozen=True)
class Texts:
    """Texts, and the same as tokens without any chat template.

    Attributes:
        source: the file, or what our own texts are.
        tokens: of each text, those that every text begins with first.
        num_first: how many these are.
    """

    source: str
    texts: list[str]
    tokens: list[list[int]]
    num_first: int


def cut_texts(lm: Decoder, source: str, texts: Sequence[str]) -> Texts:
    """Return the first `MAX_TOKENS` tokens of each text, and as much of the text as they cover.

    Raises:
        UserError: a text holds a special token, or none is long enough.
    """
    first = first_tokens(lm.tokenizer, lm.add_bos)
    limit = min(MAX_TOKENS, lm.max_positions)
    with naming_texts(source, texts):
        encoded = encode(lm.tokenizer, texts, first, set(lm.end_tokens))
    cut = [
        (text[: found.ends[:limit][-1]], found.tokens[:limit])
        for text, found in zip(texts, encoded, strict=True)
        # A tokenizer may leave out all that a text is made of.
        if len(found.tokens) > len(first)
    ]
    if max((len(tokens) for _, tokens in cut), default=0) <= FIRST_TOKENS:
        raise UserError(
            f"text={source} has no text of more than {FIRST_TOKENS} tokens, after which the length of a usual hidden "
            "state is measured; give longer texts"
        )
    return Texts(source, [text for text, _ in cut], [tokens for _, tokens in cut], len(first))


@contextmanager
def naming_texts(source: str, texts: Sequence[str]) -> Iterator[None]:
    """Make an error about one of several texts, inside a `with` block, a sentence that quotes it."""
    try:
        yield
    except ItemError as error:
        raise UserError(f"text '{beginning(texts[error.index])}' of {source} {error.reason}")
