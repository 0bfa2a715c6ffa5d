"""Each form of output shows a text as it is: nothing of it is acted on, hidden or lost."""

import csv
import shutil
import subprocess
import unicodedata

import pytest
from markdown_it import MarkdownIt
from nasty_texts import FORMULAS, HALVES, NASTY, NUMBERS

from lofit_cli.console import terminal_text, visible
from lofit_cli.report.escaping import csv_value, latex_text, markdown_text
from lofit_cli.report.tables import Cell, Table, left_and_right, show_table, write_csv, write_latex, write_markdown

PDFLATEX = shutil.which("pdflatex")
STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "－")
ACTED_ON = {"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"}


def is_plain(text):
    return all(unicodedata.category(letter) not in ACTED_ON or letter in "\u200c\u200d" for letter in text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\ud800", r"\ud800"),
        ("[/x] $5 é 中 😀", "[/x] $5 é 中 😀"),
        ("\xa0no-break", "\xa0no-break"),
        ("👨\u200d👩", "👨\u200d👩"),
    ],
)
def test_what_is_hidden_is_written_out(text, shown):
    assert visible(text) == shown
    assert terminal_text(text, "utf-8") == shown


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_a_terminal_can_print_every_text(encoding):
    for text in NASTY:
        shown = terminal_text(text, encoding)
        shown.encode(encoding)
        assert is_plain(shown)
    assert terminal_text("中 é…", "ascii") == r"\u4e2d \xe9..."


def table_of(texts):
    rows = [[text, Cell("1.0", "[0.5, 1.5]", "*", is_bold=True), [Cell(text), Cell("below")]] for text in texts]
    return Table("\n".join(texts[:3]), left_and_right("run", *texts[3:5]), rows, texts[5])


def test_the_terminal_prints_tables_of_any_text(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for start in range(0, len(NASTY), 12):
        show_table(table_of([text[:300] for text in (*NASTY[start : start + 12], *NASTY[:6])]))
    printed = capsys.readouterr().out
    assert is_plain(printed.replace("\n", ""))
    assert "[/x]" in printed
    assert ":smile:" in printed
    assert r"\x1b[2J" in printed


def rendered(source):
    """Return the texts of a Markdown table's cells, and everything that is not text in them."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(source)
    cells = [token.children for token in tokens if token.type == "inline"]
    texts = ["".join(c.content for c in cell if c.type in ("text", "text_special")) for cell in cells]
    return texts, {c.type for cell in cells for c in cell} - {"text", "text_special"}, tokens


@pytest.mark.parametrize("text", [text[:200] for text in NASTY])
def test_markdown_shows_the_text_in_one_cell(text):
    escaped = markdown_text(text)
    texts, others, tokens = rendered(f"| a | b |\n| --- | --- |\n| {escaped} | last |")
    assert not others
    # Markdown does not keep blanks at the ends of a cell.
    assert texts == ["a", "b", visible(text).strip(), "last"]
    assert [token.tag for token in tokens].count("tr") == 4


def test_markdown_of_whole_tables(tmp_path):
    write_markdown([table_of(NASTY)], tmp_path / "t.md")
    source = (tmp_path / "t.md").read_text(encoding="utf-8")
    assert source.count("\n") == len(NASTY) + 6
    assert rendered(source)[1] == {"strong_open", "strong_close"}


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("trainer.learning_rate=0.01 [58.0, 64.3] p < 0.05", "trainer.learning_rate=0.01 [58.0, 64.3] p < 0.05"),
        ("a|b", r"a\|b"),
        ("<b>&amp;", "&lt;b>&amp;amp;"),
        ("[t](http://x)", r"[t\](http\://x)"),
        ("_a_ *b* $c$", r"\_a\_ \*b\* \$c\$"),
        ("a\nb", r"a\\nb"),
    ],
)
def test_markdown_of(text, markdown):
    assert markdown_text(text) == markdown


def test_csv_keeps_every_text_and_gives_a_spreadsheet_no_formula(tmp_path):
    records = [{"row": text, "-x": -0.5, "number": i} for i, text in enumerate(NASTY)]
    write_csv(records, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as lines:
        head, *rows = csv.reader(lines)
    assert head == ["row", "'-x", "number"]
    for text, (read, number, _) in zip(NASTY, rows, strict=True):
        kept = text.encode("utf-8", "backslashreplace").decode() if text in HALVES else text
        assert read in (kept, f"'{kept}")
        assert not read.startswith(STARTS) or text in NUMBERS
        assert read == kept or text.startswith(STARTS)
        assert number == "-0.5"
    assert all(f"'{text}" in [row[0] for row in rows] for text in FORMULAS)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("=1", "'=1"),
        ("-0.5", "-0.5"),
        (-0.5, -0.5),
        ("-a", "'-a"),
        (None, None),
        ("", ""),
        ("a=1", "a=1"),
        ("@x", "'@x"),
    ],
)
def test_csv_of(value, written):
    assert csv_value(value) == written


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("trainer.l1=5e-4 & 100%", r"trainer.l1=5e-4 \& 100\%"),
        (r"a_b{c}#$\d", r"a\_b\{c\}\#\$\textbackslash{}d"),
        ("~^<|>", r"\textasciitilde{}\textasciicircum{}\textless{}\textbar{}\textgreater{}"),
        ("é ñ ő ß Ł", r"\'{e} \~{n} \H{o} \ss{} \L{}"),
        ("e\u0301", r"\'{e}"),
        ("中", r"\textbackslash{}u4e2d"),
        ("a\nb", r"a\textbackslash{}nb"),
        ("--flag ''x", "-{}-flag '{}'x"),
        ("folds 0,1 · seeds 1 ≤ 2", r"folds 0,1 $\cdot$ seeds 1 $\leq$ 2"),
    ],
)
def test_latex_of(text, latex):
    assert latex_text(text) == latex


def test_latex_is_ascii_with_balanced_braces():
    for text in NASTY:
        source = latex_text(text)
        assert source.isascii()
        bare = source.replace("\\{", "").replace("\\}", "")
        assert bare.count("{") == bare.count("}")


@pytest.mark.skipif(PDFLATEX is None, reason="needs pdflatex")
def test_pdflatex_sets_tables_of_any_text(tmp_path):
    for number, start in enumerate(range(0, len(NASTY), 24)):
        file = tmp_path / f"{number}.tex"
        write_latex([table_of([text[:100] for text in (*NASTY[start : start + 24], *NASTY[:6])])], file)
    inputs = "".join(f"\\input{{{file.stem}}}\\clearpage\n" for file in sorted(tmp_path.glob("*.tex")))
    document = f"\\documentclass{{article}}\\usepackage{{booktabs}}\\begin{{document}}\n{inputs}\\end{{document}}\n"
    (tmp_path / "main.tex").write_text(document)
    command = [PDFLATEX, "-halt-on-error", "-interaction=nonstopmode", "-no-shell-escape", "-draftmode", "main.tex"]
    result = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120, check=False
    )
    assert result.returncode == 0, result.stdout[-2000:]
