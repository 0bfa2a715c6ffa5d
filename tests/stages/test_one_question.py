"""A split of one question: no standard error, in JSON that every program reads and in an empty cell."""

import json
from dataclasses import asdict

import pytest

from lofit_cli.analysis.statistics import summarise
from lofit_cli.artifacts.files import append_line, write_json
from lofit_cli.artifacts.predictions import Prediction
from lofit_cli.report.results import print_metrics
from lofit_cli.stages import evaluate


def test_the_standard_error_of_one_question_is_null(tmp_path, capsys):
    summaries = evaluate._summarise([Prediction("1", "c", "Does moss grow?", {"mc1": 1.0, "mc2": 0.25})])
    write_json(tmp_path / "metrics.json", {name: asdict(summary) for name, summary in summaries.items()})
    text = (tmp_path / "metrics.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["mc2"] == {
        "mean": 0.25,
        "standard_error": None,
        "num_questions": 1,
    }
    print_metrics("none", "truthfulqa", "iti", "test", summaries)
    assert "nan" not in capsys.readouterr().out


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_json_is_written_that_is_none(tmp_path, value):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"x": [value]})
    with pytest.raises(ValueError, match="JSON compliant"):
        append_line(tmp_path / "a.jsonl", {"x": value}, is_first=True)
    assert not (tmp_path / "a.json").exists()


def test_two_questions_have_a_standard_error():
    assert summarise([0.0, 1.0]).standard_error == pytest.approx(0.5)
