"""When two texts are the same to a reader, however they were typed."""

import re
import unicodedata

TYPED = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u02bc\u2032\u00b4`", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
        **dict.fromkeys("\u034f\u115f\u1160\u180e\u3164\uffa0", None),
        **dict.fromkeys(map(chr, range(0xFE00, 0xFE10)), None),
        "\u061f": "?",
    }
)
"""Typographic apostrophes, quotation marks, dashes -> those of a keyboard; fillers, variation selectors -> nothing."""

UNSEEN = ("Cc", "Cf")
"""Unicode's categories of characters without any width: control and format."""
BEFORE_MARK = re.compile(r" (?=[?!:;,.])")

MEANT = ("<super>", "<sub>", "<fraction>")
"""Forms of a character that mean something else than the character: 10 to the power of 3 is not 103."""


def same_text(text: str) -> str:
    """Return a text without what typing it again may change.

    That is what `retyped` leaves out, letter case, a space before a punctuation mark, and quotation marks around all.
    """
    alike = BEFORE_MARK.sub("", retyped(text).casefold())
    return alike[1:-1] if len(alike) > 1 and alike[0] == alike[-1] == '"' else alike


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
    if not (text.isascii() and text.isprintable()):
        text = unicodedata.normalize("NFC", "".join(map(_plain, text.translate(TYPED))))
    return " ".join(text.split())


def _plain(character: str) -> str:
    if unicodedata.category(character) in UNSEEN and not character.isspace():
        return ""
    is_meant = unicodedata.decomposition(character).startswith(MEANT)
    return character if is_meant else unicodedata.normalize("NFKC", character)
