"""The best mean of a table's column is bold, the one nearest to a half where that is best; and what is averaged."""

from dataclasses import replace

import pytest

from lofit_cli.analysis.comparison import ComparedMetric, ComparedRow, ComparedSection
from lofit_cli.analysis.grouping import TABLE_FACTS
from lofit_cli.analysis.intervals import Interval
from lofit_cli.artifacts.predictions import metric_unit
from lofit_cli.report.comparison.summary import average, summarise_sections, summary_table
from lofit_cli.report.comparison.tables import paper_table

FACTS = dict.fromkeys(("model", *TABLE_FACTS)) | {
    "model": "m",
    "dtype": "float32",
    "first_tokens": [],
    "task": "truthfulqa",
}
RUN = type("Run", (), {"fold": 0, "path": "r", "manifest": type("M", (), {"unknown_history": []})()})()


def section_of(metric, means, **facts):
    rows = []
    for i, mean in enumerate(means):
        found = ComparedMetric(mean, Interval(mean, mean), None, None, [])
        rows.append(ComparedRow(f"row {i}", (RUN,), not i, (0,), {metric: replace(found, unit=metric_unit(metric))}))
    return ComparedSection(FACTS | facts, (metric,), tuple(rows))


CASES = [
    ("mc1", [0.2, 0.9, 0.4], 1),
    ("stereotype", [0.7, 0.9, 0.45], 2),
    ("abs_margin", [3.0, 0.5, 1.0], 1),
    ("token_logprob", [-3.0, -2.5, -9.0], 1),
    ("bias_diff", [-0.4, 0.3, 0.1], 2),
]


@pytest.mark.parametrize(("metric", "means", "best"), CASES)
def test_the_best_mean_of_a_paper_table_is_bold(metric, means, best):
    rows = paper_table(section_of(metric, means)).rows
    assert [row[1].is_bold for row in rows] == [i == best for i in range(3)]


@pytest.mark.parametrize(("metric", "means", "best"), CASES)
def test_the_best_mean_of_a_wide_table_is_bold(metric, means, best):
    sections = [section_of(metric, means), section_of("em", [0.1, 0.2, 0.3], task="clutrr")]
    (summary,) = summarise_sections(sections)
    assert [row[1].is_bold for row in summary_table(summary).rows] == [i == best for i in range(3)]
    averages = [average(summary, cells) for cells in summary.lines.values()]
    if metric == "mc1":
        assert averages == pytest.approx([0.15, 0.55, 0.35])
    else:
        assert averages == [None, None, None]
