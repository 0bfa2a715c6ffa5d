"""A category's colour takes the number of its questions into account."""

import numpy as np
from matplotlib.image import imread

from lofit_cli.analysis.categories import CategoryMean, flip_z
from lofit_cli.analysis.comparison import ComparedMetric, ComparedRow, ComparedSection
from lofit_cli.analysis.intervals import Interval
from lofit_cli.analysis.statistics import PairedDifference
from lofit_cli.report.comparison.plots import colour_strengths, plot_categories

GREY = 217
"""0.85 of 255."""


def category(name, size, difference, square=None):
    evidence = flip_z(size, difference, abs(difference) if square is None else square)
    return CategoryMean(name, size, 0.5, difference, size, evidence)


def test_one_question_that_became_right_is_grey():
    (strengths,) = colour_strengths(
        [[category("one", 1, 1.0), category("four", 4, 1.0), category("five", 5, 1.0), None]]
    )
    assert np.isnan(strengths).tolist() == [True, True, False, True]


def test_of_the_same_difference_the_larger_category_is_coloured_more_strongly():
    ((small, large, loss),) = colour_strengths(
        [[category("s", 10, 0.2), category("l", 60, 0.2), category("d", 60, -0.2)]]
    )
    assert 0 < small < large <= 1
    assert loss == -large


def test_the_picture_has_colour_only_where_there_are_questions_enough(tmp_path):
    categories = [category("many", 80, 0.3), category("few", 3, 1.0)]
    interval = Interval(0, 1)
    paired = PairedDifference(0.3, interval, 0.1, 0.01, "McNemar, exact")
    rows = tuple(
        ComparedRow(name, (), not pair, (0,), {"mc1": ComparedMetric(0.5, interval, None, pair, categories)})
        for name, pair in (("base model", None), ("lofit", paired))
    )
    assert plot_categories(ComparedSection({}, ("mc1",), rows), tmp_path / "c.png")
    pixels = np.round(255 * imread(tmp_path / "c.png")[..., :3]).astype(int).reshape(-1, 3)
    colours, counts = np.unique(pixels, axis=0, return_counts=True)
    areas = {tuple(colour): count for colour, count in zip(colours.tolist(), counts.tolist(), strict=True)}
    cells = sorted(areas, key=areas.get)[-3:]
    # White paper, a grey cell and a blue one as large.
    assert (GREY, GREY, GREY) in cells
    (blue,) = (cell for cell in cells if len(set(cell)) == 3)
    assert blue[2] > blue[0]
    assert 0.8 < areas[blue] / areas[GREY, GREY, GREY] < 1.25
