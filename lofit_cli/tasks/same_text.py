"""When two texts are the same to a reader, however they were typed."""

import unicodedata

TYPED = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u02bc\u2032\u00b4`", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
        **dict.fromkeys("\u00ad\u200b\u200c\u200d\u2060\ufeff", None),
    }
)
"""Typographic apostrophes, quotation marks, dashes -> those of a keyboard; characters without any width -> nothing."""

MEANT = ("<super>", "<sub>", "<fraction>")
"""Forms of a character that mean something else than the character: 10 to the power of 3 is not 103."""


def same_text(text: str) -> str:
    """Return a text without what typing it again may change: letter case and what `retyped` leaves out."""
    return retyped(text).casefold()


def same_answer(answer: str) -> str:
    """Return an answer so, without a last period."""
    return retyped_answer(answer).casefold()


def retyped_answer(answer: str) -> str:
    """Return an answer as a keyboard writes it, without a last period."""
    return retyped(answer).removesuffix(".").rstrip()


def retyped(text: str) -> str:
    """Return a text as a keyboard writes it: one kind of white space, of quotation marks and of each Unicode character.

    Unicode's compatibility forms (Unicode Standard Annex 15, NFKC) count as the character itself, but for `MEANT`.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", "".join(map(_plain, text.translate(TYPED))))
    return " ".join(text.split())


def _plain(character: str) -> str:
    is_meant = unicodedata.decomposition(character).startswith(MEANT)
    return character if is_meant else unicodedata.normalize("NFKC", character)
