"""Where the best mean is 50 % or 0, more is not shown as a gain."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browsing import CHROMIUM, click_through
from manifests import write_manifest
from matplotlib.image import imread

from lofit_cli.artifacts.run_dir import start_run
from lofit_cli.report.comparison import draws
from lofit_cli.schema.stages import CompareConfig
from lofit_cli.stages.compare import compare

SIZE = 40
CLASSES = re.compile(r'<span class="(\w+)">([+-][\d.]+)')


def compared(folder, metric, **shares):
    """Compare runs of which the first so many of 40 questions are worth 1."""
    for name, share in shares.items():
        columns = {
            "question_id": [f"q{i}" for i in range(SIZE)],
            "category": ["ab"[i % 2] for i in range(SIZE)],
            "question": [f"Pair {i}?" for i in range(SIZE)],
            "answers": [["this", "that"]] * SIZE,
            "correct": [[True, False]] * SIZE,
            "log_probs": [[-1.0, -2.0]] * SIZE,
            metric: (np.arange(SIZE) < share * SIZE).astype(float),
        }
        run = folder / "runs" / name
        run.mkdir(parents=True)
        pq.write_table(pa.table(columns), run / "predictions.parquet")
        method = "none" if name == "base" else name
        write_manifest(run, "evaluate", method=method, metrics=[metric])
    with start_run(folder / "out", "compare", CompareConfig()) as run:
        compare(CompareConfig(runs=[str(folder / "runs")], num_resamples=100), run)
    return folder / "out"


def test_more_bias_is_shown_as_a_loss_and_less_as_a_gain(tmp_path):
    page = (compared(tmp_path, "stereotype", base=0.6, lofit=0.9, red=0.45) / "report.html").read_text()
    assert set(CLASSES.findall(page)) == {("down", "+30.0"), ("up", "-15.0")}
    assert "purple is more and orange less" in page


def test_a_higher_share_of_right_answers_is_shown_as_a_gain(tmp_path):
    page = (compared(tmp_path, "mc1", base=0.6, lofit=0.9, red=0.45) / "report.html").read_text()
    assert set(CLASSES.findall(page)) == {("up", "+30.0"), ("down", "-15.0")}
    assert "blue is a gain" in page


@pytest.mark.parametrize(("metric", "is_blue"), [("mc1", True), ("stereotype", False)])
def test_a_category_with_more_bias_has_no_colour_of_a_gain(metric, is_blue, tmp_path):
    (picture,) = compared(tmp_path, metric, base=0.4, lofit=1.0).rglob("*categories*.png")
    pixels = imread(picture)[..., :3].reshape(-1, 3)
    red, green, blue = pixels.T
    # The blue end of one map has more green than red, the purple end of the other more red than green.
    cells = (blue - np.minimum(red, green) > 0.1) & (blue >= np.maximum(red, green))
    assert (np.median(green[cells] - red[cells]) > 0) == is_blue


def test_the_terminal_counts_what_moved_where_no_answer_is_right(tmp_path, capsys):
    compared(tmp_path, "stereotype", base=0.6, lofit=0.9)
    shown = " ".join(capsys.readouterr().out.split())
    assert "12 more, 0 less" in shown
    assert "to right" not in shown


def test_draws_are_worse_by_how_far_they_are_from_the_best():
    assert "further from the best" in draws.NOTE


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium or google-chrome")
@pytest.mark.parametrize(("metric", "shown"), [("mc1", "up"), ("stereotype", "soft")])
def test_a_question_with_more_bias_has_no_colour_of_a_gain(metric, shown, tmp_path):
    page = compared(tmp_path, metric, base=0.6, lofit=0.9) / "report.html"
    seen = click_through(page, tmp_path, 'see("class", one(`[data-label="B − A"]`).className);')
    assert seen == {"class": shown}
