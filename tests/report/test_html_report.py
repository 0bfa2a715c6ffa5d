"""report.html stands alone, and a browser shows it without a complaint."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browsing import CHROMIUM, browse
from matplotlib.image import imread
from synthetic_runs import METHODS, write_run, write_runs

from lofit_cli.artifacts.run_dir import start_run
from lofit_cli.report.comparison import html
from lofit_cli.schema.stages import CompareConfig
from lofit_cli.stages.compare import compare

LINKS = ("src", "href", "srcset", "poster", "data", "action")
OUTSIDE = re.compile(r"url\(|@import|https?:|//")


class Links(HTMLParser):
    """Collects where a page points to, and what it is made of."""

    def __init__(self):
        super().__init__()
        self.links, self.tags, self.ids = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in LINKS]
        self.ids += [value for name, value in attrs if name == "id"]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of three tasks, with a row whose name a browser must not read as HTML."""
    folder = tmp_path_factory.mktemp("report")
    write_runs(folder / "runs", methods=METHODS[:4], num_questions=60)
    write_run(folder / "runs/odd", "mquake", 0, 1, ("<script>alert(1)</script>", None, 0, {}), num_questions=60)
    with start_run(folder / "out", "compare", CompareConfig()) as run:
        compare(CompareConfig(runs=[str(folder / "runs")], num_resamples=200), run)
    return folder / "out/report.html"


def test_the_page_needs_nothing_from_outside(report):
    page = report.read_text(encoding="utf-8")
    found = Links()
    found.feed(page)
    assert found.links
    assert all(link.startswith(("#", "data:")) for link in found.links)
    assert all(link[1:] in found.ids for link in found.links if link.startswith("#"))
    # The data, and what shows them; neither is fetched.
    assert found.tags.count("script") == 2
    assert "default-src 'none'" in page
    for part in ("report.js", "report.css"):
        assert Path(html.__file__).with_name(part).read_text(encoding="utf-8").strip() in page
    # A reader without JavaScript sees all views, one below another, but for the list that is made by it.
    assert re.findall(r'<div class="view" id="(\w+)">', page) == ["results", "questions", "interventions"]
    assert "noscript" in found.tags
    assert found.tags.count("img") == 6
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    assert not OUTSIDE.search(style)
    assert '<meta charset="utf-8">' in page[:200]


def test_the_page_says_what_was_compared(report):
    page = report.read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    for words in (
        "Summary",
        "folds 0,1 · seeds 1,2,42",
        "SD over seeds",
        "its last process's alone",
        "a" * 64,
        "0123456789",
    ):
        assert words in page, words
    assert "runs/odd" in page


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium or google-chrome")
def test_a_browser_shows_the_page(report, tmp_path):
    said, requests = browse(report, tmp_path)
    assert "CONSOLE" not in said, said
    pixels = imread(tmp_path / "page.png")[..., :3]
    assert pixels.shape[:2] == (2400, 1280)
    assert pixels.std() > 0.05
    assert not requests


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium or google-chrome")
def test_a_page_that_does_ask_for_something_is_found_out(tmp_path):
    page = tmp_path / "page.html"
    page.write_text('<img src="http://example.invalid/a.png"><script>console.error("no")</script>')
    said, requests = browse(page, tmp_path)
    assert "CONSOLE" in said
    assert requests == ["http://example.invalid/a.png"]
