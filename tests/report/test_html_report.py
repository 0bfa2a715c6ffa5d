"""report.html stands alone, and a browser shows it without a complaint."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.image import imread
from synthetic_runs import METHODS, write_run, write_runs

from lofit_cli.artifacts.run_dir import start_run
from lofit_cli.schema import CompareConfig
from lofit_cli.stages.compare import compare

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--window-size=1280,2400",
)
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
    assert "script" not in found.tags
    assert found.tags.count("img") == 6
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    assert not OUTSIDE.search(style)
    assert '<meta charset="utf-8">' in page[:200]


def test_the_page_says_what_was_compared(report):
    page = report.read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    for words in ("Summary", "folds 0,1 · seeds 1,2,42", "SD over seeds", "difference on", "a" * 64, "0123456789"):
        assert words in page or words == "difference on", words
    assert "runs/odd" in page


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium or google-chrome")
def test_a_browser_shows_the_page(report, tmp_path):
    picture, network = tmp_path / "report.png", tmp_path / "network.json"
    own = (f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={picture}", f"--log-net-log={network}")
    result = subprocess.run(
        [CHROMIUM, *FLAGS, *own, report.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    assert "CONSOLE" not in result.stderr, result.stderr
    pixels = imread(picture)[..., :3]
    assert pixels.shape[:2] == (2400, 1280)
    assert pixels.std() > 0.05
    assert not requests(network)


def requests(network: Path):
    """Return the addresses that the browser asked the network for."""
    events = json.loads(network.read_text())["events"]
    urls = [event.get("params", {}).get("url", "") for event in events]
    return [url for url in urls if url.startswith(("http:", "https:"))]
