"""Text as Markdown, CSV and LaTeX print it: escaping belongs to the form of output, never to its caller.

The terminal's is in `console.py`, HTML's in `comparison/html.py`, that of figures in `plots.py`.
"""

import re
import unicodedata
from typing import Any

from lofit_cli.console import visible

ENTITY = re.compile(r"&(?=#?\w+;)")
TAG = re.compile(r"<(?=[a-z/!?])", re.IGNORECASE)
MARKS = re.compile(
    r"""[\\`*|~$]                     # escapes, code, emphasis, cells, strike-through, formulas
    | (?<![^\W_])_ | _(?![^\W_])      # emphasis; not inside a name such as learning_rate
    | \](?=[(\[:]) | :(?=//) | (?<=www)\.  # links, and addresses that are made links""",
    re.VERBOSE | re.IGNORECASE,
)

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What makes a spreadsheet compute a cell (OWASP, "CSV Injection"); the wide ones do in East Asian versions."""

SPECIAL = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "\xa0": "~",
    **{"–": "--", "—": "---", "‘": "`", "’": "'", "“": "``", "”": "''", "…": r"\ldots{}"},
    **{"ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}", "ø": r"\o{}", "Ø": r"\O{}"},
    **{"ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}", "¡": "!`", "¿": "?`", "§": r"\S{}", "¶": r"\P{}"},
    **{"·": r"$\cdot$", "×": r"$\times$", "÷": r"$\div$", "±": r"$\pm$", "°": r"$^\circ$", "−": "$-$"},
    **{"≤": r"$\leq$", "≥": r"$\geq$", "≠": r"$\neq$", "≈": r"$\approx$", "∞": r"$\infty$", "→": r"$\to$"},
}
ACCENTS = dict(
    zip(
        "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0323\u0327\u0331",
        "`'^~=u.\"rHvdcb",
        strict=True,
    )
)
"""Combining characters that pdflatex sets with any of its fonts, and the commands for them."""
LIGATURE = re.compile(r"(?<=[-`'])(?=[-`'])|(?<=[?!])(?=`)|(?<=,)(?=,)")
"""Between two characters that TeX would set as one, such as the two hyphens of an option."""


def markdown_text(text: str) -> str:
    """Return text that Markdown shows as it is, in a cell of a table or outside."""
    shown = TAG.sub("&lt;", ENTITY.sub("&amp;", visible(text)))
    return MARKS.sub(lambda found: f"\\{found[0]}", shown)


def csv_value(value: Any) -> Any:
    """Return a value that no spreadsheet takes for a formula; numbers, as such or as text, stay what they are."""
    if not isinstance(value, str) or not value.startswith(FORMULA_STARTS) or _is_number(value):
        return value
    return f"'{value}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def latex_text(text: str) -> str:
    """Return ASCII that LaTeX prints as the text; a letter that pdflatex has no way to set is named by its number."""
    letters = unicodedata.normalize("NFC", visible(text))
    parts = LIGATURE.sub("\0", letters).split("\0")
    return "{}".join("".join(map(_latex_letter, part)) for part in parts)


def _latex_letter(letter: str) -> str:
    if letter in SPECIAL:
        return SPECIAL[letter]
    if letter.isascii():
        return letter
    base, *accents = list(unicodedata.normalize("NFD", letter))
    if base.isascii() and accents and all(accent in ACCENTS for accent in accents):
        for accent in accents:
            base = f"\\{ACCENTS[accent]}{{{base}}}"
        return base
    return f"\\textbackslash{{}}{letter.encode('unicode_escape').decode('ascii')[1:]}"
