"""What is read of a run's predictions: numbers on their metric's scale, or a sentence that names what isn't."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic_runs import write_run
from typer.testing import CliRunner

from lofit_cli.artifacts.predictions import metric_scale, read_metrics
from lofit_cli.cli import app
from lofit_cli.errors import UserError


def write(folder, **columns):
    table = {"question_id": ["a", "b", "c"], "category": ["x"] * 3} | columns
    pq.write_table(pa.table(table), folder / "predictions.parquet")
    return folder


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("mc1", [1.0, None, 0.0], "mc1 is not a number for 1 of 3 questions"),
        ("mc1", [None, None, None], "mc1 is not a number for 3 of 3 questions"),
        ("mc1", [float("nan"), 1.0, float("inf")], "mc1 is not a number for 2 of 3 questions"),
        ("mc1", [0.5, 1.5, 0.0], "mc1 lies outside 0 to 1 for 1 of 3 questions"),
        ("mc1", [25.9, 50.0, 100.0], "mc1 lies outside 0 to 1 for 3 of 3 questions"),
        ("mc1", [-0.1, 0.0, 0.0], "mc1 lies outside 0 to 1 for 1 of 3 questions"),
        ("bleu_diff", [-1.2, 0.0, 0.0], "bleu_diff lies outside -1 to 1 for 1 of 3 questions"),
        ("mc1", ["yes", "no", "1"], "mc1 holds string, not numbers"),
        ("mc1", [[1.0], [0.0], [1.0]], "mc1 holds list<"),
        ("category", ["x", None, "y"], "category is missing or not text for 1 of 3 questions"),
        ("question_id", ["a", "b", None], "question_id is missing or not text for 1 of 3 questions"),
        ("question_id", [1, 2, 3], "question_id is missing or not text for 3 of 3 questions"),
    ],
)
def test_what_is_no_value_of_the_metric_is_refused_by_name(tmp_path, column, values, said):
    metrics = [column] if column not in ("category", "question_id") else ["mc1"]
    folder = write(tmp_path, **({"mc1": [0.0] * 3} | {column: values}))
    with pytest.raises(UserError) as caught:
        read_metrics(folder, metrics)
    assert str(folder) in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize("metrics", [["mc1", "mc1"], ["mc1", "question_id"]])
def test_metrics_that_stand_twice_or_are_none_are_refused(tmp_path, metrics):
    with pytest.raises(UserError, match="names a metric twice, or one that is none"):
        read_metrics(write(tmp_path, mc1=[0.0] * 3), metrics)


def test_a_missing_metric_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match="mc9"):
        read_metrics(write(tmp_path, mc1=[0.0] * 3), ["mc9"])


def test_numbers_are_read_whatever_their_type(tmp_path):
    folder = write(tmp_path, em=[1, 0, 1], bleu_diff=np.array([-1, 0.5, 1], dtype=np.float32), mc2=[0.0, 1 + 1e-9, 0.3])
    found = read_metrics(folder, ["em", "bleu_diff", "mc2"]).values
    assert found["em"].tolist() == [1, 0, 1]
    assert found["bleu_diff"].tolist() == [-1, 0.5, 1]
    assert {values.dtype for values in found.values()} == {np.dtype(np.float64)}
    assert [metric_scale(name) for name in found] == [(0, 1), (-1, 1), (0, 1)]


@pytest.mark.parametrize("value", [None, float("nan"), 2.0])
def test_compare_says_which_run_and_metric(tmp_path, monkeypatch, value):
    monkeypatch.chdir(tmp_path)
    for seed in (1, 2):
        write_run(tmp_path / f"runs/{seed}", "truthfulqa", 0, seed, num_questions=8)
    file = tmp_path / "runs/2/predictions.parquet"
    table = pq.read_table(file).to_pydict()
    table["mc2"][3] = value
    pq.write_table(pa.table(table), file)
    result = CliRunner().invoke(app, ["compare", "runs=[runs]"])
    assert result.exit_code == 2
    said = " ".join(result.stderr.split())
    assert "runs/2/predictions.parquet: mc2" in said
    assert "for 1 of 8 questions" in said
