"""The questions in report.html: all of them where there is room, and never a way out of their element."""

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from nasty_texts import HALVES, NASTY
from synthetic_runs import METHODS, write_run, write_runs

from lofit_cli.analysis.comparison import compare_section
from lofit_cli.analysis.grouping import group_runs
from lofit_cli.artifacts.evaluations import read_evaluations
from lofit_cli.artifacts.run_dir import start_run
from lofit_cli.console import visible
from lofit_cli.report.comparison.embedding import script_json
from lofit_cli.report.comparison.questions import collect_questions
from lofit_cli.schema.stages import CompareConfig
from lofit_cli.stages.compare import compare


class Scripts(HTMLParser):
    """Collects the content of script elements, as a browser ends them."""

    def __init__(self):
        super().__init__()
        self.found, self.inside = [], False

    def handle_starttag(self, tag, attrs):
        if tag == "script":
            self.found.append("")
        self.inside = tag == "script"

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.found[-1] += data


def page_data(folder):
    with start_run(folder / "out", "compare", CompareConfig()) as run:
        compare(CompareConfig(runs=[str(folder / "runs")], num_resamples=100), run)
    scripts = Scripts()
    scripts.feed((folder / "out/report.html").read_text(encoding="utf-8"))
    assert len(scripts.found) == 2
    return json.loads(scripts.found[0])


def change_column(folder, name, values):
    file = folder / "predictions.parquet"
    table = pq.read_table(file)
    pq.write_table(table.set_column(table.schema.get_field_index(name), name, pa.array(values)), file)


def test_the_questions_of_truthfulqa_and_eight_runs_fit_into_five_megabytes(tmp_path):
    write_runs(tmp_path / "runs", tasks=("truthfulqa",), seeds=(1,), methods=METHODS[:8])
    (section,) = page_data(tmp_path)["sections"]
    assert sum(len(fold["questions"]) for fold in section["folds"].values()) == 817
    assert len(section["runs"]) == 8
    log_probs = [run["folds"][fold]["logProbs"] for run in section["runs"] for fold in ("0", "1")]
    assert sum(len(answers) for run in log_probs for answers in run) == 817 * 8 * 10
    size = (tmp_path / "out/report.html").stat().st_size
    assert size < 5_000_000, size


def test_the_page_holds_what_the_runs_wrote(tmp_path):
    write_run(tmp_path / "runs/a", "truthfulqa", 0, 1, num_questions=7)
    write_run(tmp_path / "runs/b", "truthfulqa", 0, 1, METHODS[1], num_questions=7)
    (section,) = page_data(tmp_path)["sections"]
    written = pq.read_table(tmp_path / "runs/b/predictions.parquet").to_pydict()
    fold, run = section["folds"]["0"], section["runs"][1]["folds"]["0"]
    assert (fold["ids"], fold["questions"], fold["answers"]) == (
        written["question_id"],
        written["question"],
        written["answers"],
    )
    assert [fold["categories"][place] for place in fold["category"]] == written["category"]
    assert [[mark == "1" for mark in marks] for marks in fold["correct"]] == written["correct"]
    np.testing.assert_allclose(run["logProbs"], written["log_probs"], atol=5.1e-4)
    np.testing.assert_allclose(run["values"], [written[name] for name in ("mc1", "mc2", "mc3")], atol=5.1e-5)
    assert [metric["rightAbove"] for metric in section["metrics"]] == [0.5] * 3


@pytest.mark.parametrize("text", ["</script><b>", "<!--<script>", "]]>", "\u2028", *NASTY[::6]])
def test_no_text_ends_the_element_that_holds_it(text):
    scripts = Scripts()
    scripts.feed(f"<script>{script_json([text])}</script><script>1</script>")
    assert [len(scripts.found), scripts.found[1]] == [2, "1"]
    assert json.loads(scripts.found[0]) == [text]


def test_hidden_characters_are_written_out_and_line_ends_kept(tmp_path):
    texts = [text for text in NASTY if text not in HALVES][:20]
    for number in (0, 1):
        folder = tmp_path / f"runs/{number}"
        write_run(folder, "clutrr", 0, 1, METHODS[number], num_questions=len(texts))
        change_column(folder, "generated", texts)
    (section,) = page_data(tmp_path)["sections"]
    shown = section["runs"][0]["folds"]["0"]["texts"]
    assert shown == ["\n".join(visible(line) for line in text.split("\n"))[:4000] for text in texts]
    assert "\x1b" not in "".join(shown)


def sections_of(folder):
    runs = group_runs(read_evaluations([str(folder)]), None)
    return [compare_section(runs, runs[0], 100, 0)]


def test_without_room_for_all_each_row_keeps_its_first_run(tmp_path):
    write_runs(tmp_path, tasks=("truthfulqa",), folds=(0,), methods=METHODS[:3], num_questions=50)
    sections = sections_of(tmp_path)
    (everything,), nothing = collect_questions(sections)
    assert len([run for run in everything.runs if run.answered]) == 9
    assert [*nothing.damaged, *nothing.textless, *nothing.runs] == []
    (some,), left_out = collect_questions(sections, budget=50_000)
    with_texts = [(shown.row, shown.run.seed) for shown in some.runs if shown.answered]
    assert {(0, "1"), (1, "1"), (2, "1")} <= {*with_texts}
    assert len(with_texts) < 9
    assert len(left_out.textless) + len(left_out.runs) == 9 - len(with_texts)
    (none,), left_out = collect_questions(sections, budget=0)
    assert (none.runs, len(left_out.runs)) == ([], 9)


def test_a_page_without_room_says_which_runs_it_leaves_out(tmp_path, monkeypatch):
    monkeypatch.setattr("lofit_cli.report.comparison.questions.MAX_RUNS", 3)
    write_runs(tmp_path / "runs", tasks=("truthfulqa",), folds=(0,), methods=METHODS[:2], num_questions=20)
    (section,) = page_data(tmp_path)["sections"]
    assert len(section["runs"]) == 3
    page = (tmp_path / "out/report.html").read_text()
    assert "To keep this file small, 3 runs are left out of this list." in page
    listed = page.split('id="questions"')[1].split("</ul>")[0]
    assert [listed.count(f"0{row}-fold0-seed{seed}") for row in (0, 1) for seed in (1, 2, 42)] == [0, 0, 1, 0, 1, 1]


@pytest.mark.parametrize(
    ("column", "values"),
    [("log_probs", ["x"] * 9), ("log_probs", [[np.nan] * 10] * 9), ("answers", [None] * 9), ("correct", [[True]] * 9)],
)
def test_damaged_texts_end_no_comparison(column, values, tmp_path, capsys):
    for number in (0, 1):
        write_run(tmp_path / f"runs/{number}", "truthfulqa", 0, 1, METHODS[number], num_questions=9)
    change_column(tmp_path / "runs/1", column, values)
    (section,) = page_data(tmp_path)["sections"]
    assert ["logProbs" in run["folds"]["0"] for run in section["runs"]] == [True, False]
    assert len(section["runs"][1]["folds"]["0"]["values"][0]) == 9
    assert "note: the report lacks some texts: the texts of" in capsys.readouterr().err
    assert "runs/1/predictions.parquet" in Path(tmp_path, "out/report.html").read_text().split('id="questions"')[1]


def test_texts_of_other_questions_are_not_shown_beside_these(tmp_path):
    for number in (0, 1):
        write_run(tmp_path / f"runs/{number}", "truthfulqa", 0, 1, METHODS[number], num_questions=9)
    change_column(tmp_path / "runs/1", "answers", [["a"] * 10] * 9)
    (section,) = page_data(tmp_path)["sections"]
    assert "logProbs" not in section["runs"][1]["folds"]["0"]


def test_a_value_is_on_the_page_on_the_side_of_the_border_that_it_is_on(tmp_path):
    write_run(tmp_path / "runs/a", "truthfulqa", 0, 1, num_questions=7)
    write_run(tmp_path / "runs/b", "truthfulqa", 0, 1, METHODS[1], num_questions=7)
    change_column(tmp_path / "runs/b", "mc2", [0.50003, 0.49998, 0.5, 0.123456, 0.0, 1.0, 0.7])
    (section,) = page_data(tmp_path)["sections"]
    values = section["runs"][1]["folds"]["0"]["values"][1]
    assert values == [0.50003, 0.5, 0.5, 0.1235, 0, 1, 0.7]
