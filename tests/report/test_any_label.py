"""Figures and whole comparisons of runs whose names, categories and protocols are anything."""

import csv
import warnings
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.image import imread
from nasty_texts import FORMULA_SIGNS, HALVES, LONG, NASTY
from synthetic_runs import METHODS, write_run

from lofit_cli.artifacts.run_dir import start_run
from lofit_cli.console import visible
from lofit_cli.paper.figures import plot_layer_shares
from lofit_cli.report.comparison.words import MAX_LETTERS, shown_names
from lofit_cli.report.plots import lettering, new_figure, save_figure
from lofit_cli.schema.stages import CompareConfig
from lofit_cli.stages.compare import compare

ONLY_OURS, NOBODYS = "\U0010ff01", "\U0010ff02"
"""Private letters: a font of the tests has the first, no font the second."""


@pytest.fixture(autouse=True)
def _no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def font(tmp_path, monkeypatch):
    """A font that has a square for one letter, known to matplotlib."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 900), (900, 900), (900, 0)):
        pen.lineTo(corner)
    pen.closePath()
    builder = FontBuilder(1000)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(ONLY_OURS): "square"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "square": (1000, 0)})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "squares.ttf")
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [*font_manager.fontManager.ttflist])
    font_manager.fontManager.addfont(tmp_path / "squares.ttf")


def draw(text, file):
    with lettering([text]) as drawable:
        figure, axes = new_figure(2, 2)
        axes.axis("off")
        axes.text(0, 0.5, drawable(text))
        assert save_figure(figure, file, dpi=50)
    return imread(file)


def test_a_letter_is_drawn_with_the_font_that_has_it(font, tmp_path):
    with lettering([f"a{ONLY_OURS}{NOBODYS}"]) as drawable:
        assert drawable(f"a{ONLY_OURS}") == f"a{ONLY_OURS}"
        assert drawable(f"a{NOBODYS}\x1b") == r"a\U0010ff02\x1b"
        assert matplotlib.rcParams["font.family"][-1] == "Squares"
    assert "Squares" not in matplotlib.rcParams["font.family"]
    # A square covers far more than the spelling of a number would.
    assert (draw(ONLY_OURS * 3, tmp_path / "a.png") < 0.5).sum() > (draw("...", tmp_path / "b.png") < 0.5).sum() + 100


@pytest.mark.parametrize("text", FORMULA_SIGNS)
def test_a_dollar_is_a_dollar(text, tmp_path):
    plain = draw(text.replace("$", "S"), tmp_path / "s.png")
    assert abs((draw(text, tmp_path / "d.png") < 0.5).sum() - (plain < 0.5).sum()) < 0.5 * (plain < 0.5).sum()


def test_long_names_are_cut_and_told_apart():
    names = shown_names([*LONG, "short", "short"])
    assert max(map(len, names)) <= MAX_LETTERS + len(" (2)")
    assert len(set(names)) == len(names)
    assert names[-2:] == ["short", "short (2)"]
    assert names[1].endswith("x1")


def test_a_legend_has_every_task(tmp_path):
    plot_layer_shares({name: [0.5, 0.5] for name in ("_hidden", "$a$", "中")}, "$x$ 中", tmp_path / "shares.png")
    assert imread(tmp_path / "shares.png").std() > 0


class Cells(HTMLParser):
    """Collects the texts of strong elements, as a browser shows them."""

    def __init__(self):
        super().__init__()
        self.texts, self.inside, self.tags = [], False, []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.inside = tag == "strong"

    def handle_data(self, data):
        if self.inside:
            self.texts.append(data)
            self.inside = False


@pytest.mark.parametrize("first", [0, 1])
def test_runs_of_any_name_are_compared(first, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    names = sorted({*NASTY[first::8], LONG[first], "$", "$$"} - {"none", "\ufffe", *HALVES})
    # A manifest with half a letter is no UTF-8: it is named, and its run left out.
    for number, name in enumerate(["none", *names, HALVES[0]]):
        run = tmp_path / f"runs/{number}"
        protocol = NASTY[first * 7][:300].encode("utf-8", "replace").decode()
        write_run(run, "clutrr", 0, 1, (name, None, 0, {}), num_questions=45, gain=0.01 * number, protocol=protocol)
        categorise(run / "predictions.parquet", NASTY[first::3][:45])
    with start_run(tmp_path / "out", "compare", CompareConfig()) as run:
        compare(CompareConfig(runs=[str(tmp_path / "runs")], num_resamples=100), run)
    assert (tmp_path / "out/comparison.png").exists()
    assert (tmp_path / "out/categories.png").exists()
    printed = capsys.readouterr()
    assert "no picture" not in printed.err
    assert printed.err.count("holds what is no text") == 1
    assert visible(printed.out.replace("\n", "")) == printed.out.replace("\n", "")
    page = Cells()
    page.feed((tmp_path / "out/report.html").read_text(encoding="utf-8"))
    # The page has two scripts of its own: the data and what shows them.
    assert page.tags.count("script") == 2
    assert not {*page.tags} & {"b", "i"}
    shown = set(map(visible, shown_names(names))) - {"", " "}
    assert shown <= set(page.texts)
    with (tmp_path / "out/comparison.csv").open(newline="", encoding="utf-8") as lines:
        assert len(list(csv.DictReader(lines))) == len(names) + 1


def categorise(file: Path, categories):
    table = pq.read_table(file)
    texts = [text.encode("utf-8", "replace").decode() for text in categories]
    texts += ["ordinary"] * (len(table) - len(texts))
    column = table.schema.get_field_index("category")
    pq.write_table(table.set_column(column, "category", pa.array(texts)), file)


def test_figures_of_two_models_that_look_alike_are_two_files(tmp_path):
    for number, model in enumerate(("中文", "日本語", "a/中", "a b", "a-b")):
        write_run(
            tmp_path / f"runs/{number}",
            "clutrr",
            0,
            1,
            METHODS[0],
            num_questions=20,
            model=model,
            model_hash=f"{number}",
        )
    with start_run(tmp_path / "out", "compare", CompareConfig()) as run:
        compare(CompareConfig(runs=[str(tmp_path / "runs")], num_resamples=100), run)
    assert len(list((tmp_path / "out").glob("comparison-*.png"))) == 5
