"""What the terminal shows of the model's words: questions that changed, and generated texts side by side."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from manifests import write_manifest
from stage_runs import ok
from typer.testing import CliRunner

from lofit_cli.cli import app
from lofit_cli.report.examples import tell_beginnings

WIDTH = {"COLUMNS": "80"}


def write(name, method, columns, **facts):
    folder = Path("runs", name)
    folder.mkdir(parents=True)
    size = len(next(iter(columns.values())))
    ids = {"question_id": [f"q{i}" for i in range(size)], "category": [""] * size}
    pq.write_table(pa.table(ids | columns), folder / "predictions.parquet")
    write_manifest(folder, "evaluate", method=method, **facts)


def shown(result):
    """Return the cells that a table has printed, a line each."""
    lines = [line for line in result.stdout.splitlines() if line.startswith("│")]
    assert max(map(len, result.stdout.splitlines())) <= 80
    return [tuple(cell.strip() for cell in line.strip("│").split("│")) for line in lines]


def compare():
    return ok(CliRunner().invoke(app, ["compare", "runs=[runs]", "num_resamples=100", "hydra.run.dir=out"], env=WIDTH))


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_compare_prints_generated_texts_before_and_after():
    questions = [f"Read this story of a family well. Who is {name}?" for name in ("Ann", "Bob", "Cy", "Di", "Ed")]
    for name, method, said in (("a", "none", "uncle son son son son"), ("b", "lofit", "son uncle son son son")):
        texts = said.split()
        columns = {"question": questions, "accepted": [["son"]] * 5, "generated": texts}
        write(name, method, columns | {"em": [float(text == "son") for text in texts]}, task="kin", metrics=["em"])
    cells = shown(compare())
    assert ("fold 0, seed 1: 1 to right, 1 to wrong", "", "") in cells
    assert cells[-2:] == [
        ("…Who is Ann?", "uncle (wrong)", "son (right)"),
        ("…Who is Bob?", "son (right)", "uncle (wrong)"),
    ]


def test_compare_prints_the_likeliest_answers_of_scored_questions():
    for name, method, log_probs, mc1 in (("a", "none", [-1.0, -2.0], 1.0), ("b", "lora", [-4.0, -3.0], 0.0)):
        columns = {"question": ["Why?", "How?"], "answers": [["so", "no"]] * 2, "correct": [[True, False]] * 2}
        write(name, method, columns | {"log_probs": [log_probs, [-1.0, -2.0]], "mc1": [mc1, 1.0]})
    cells = shown(compare())
    assert cells[-1] == ("Why?", "so (right)", "no (wrong)")
    assert not [cell for cell in cells if cell[0] == "How?"]


def test_runs_that_differ_in_nothing_have_no_examples():
    for name, method in (("a", "none"), ("b", "lora")):
        columns = {"question": ["Why?", "How?"], "accepted": [["so"]] * 2, "generated": ["so", "no"], "em": [1.0, 0.0]}
        write(name, method, columns, metrics=["em"])
    assert "Changed questions" not in compare().stdout


@pytest.mark.parametrize(
    ("questions", "beginnings"),
    [
        (["Read this story of a family: Ann and", "Read this story of a family: Ann or"], ["…Ann and", "…Ann or"]),
        (["Who is Ann?", "Who is Bob?"], ["Who is Ann?", "Who is Bob?"]),
        (["a\nb  c", "x" * 80], ["a b c", "x" * 71 + "…"]),
        (["Read the story of one family only"], ["Read the story of one family only"]),
        (["Read the same story again. Twice."] * 2, ["…Twice."] * 2),
        (
            ["What happens to question 1?", "What happens to question 2?"],
            [f"What happens to question {i}?" for i in "12"],
        ),
    ],
)
def test_a_question_is_known_by_what_the_others_do_not_begin_with(questions, beginnings):
    assert tell_beginnings(questions) == beginnings


@pytest.mark.usefixtures("workplace")
def test_evaluate_prints_its_texts_beside_those_of_the_base_model(lofit):
    common = ("task=clutrr", "task.data_dir=sample", "task.max_new_tokens=3")
    ok(lofit("select-heads", *common, "selector=random", "num_heads=3"))
    ok(lofit("train-offsets", *common, "trainer.num_epochs=1"))
    alone = ok(lofit("evaluate", *common)).stdout
    assert "5 of 12 generated texts" in alone
    assert "no finished evaluation of the model as it is" in " ".join(alone.split())
    base = ok(lofit("evaluate", *common, "intervention=none")).stdout
    assert "generated texts" not in base
    beside = ok(lofit("evaluate", *common, "force=true")).stdout
    heads = next(line for line in beside.splitlines() if "question" in line and "lofit" in line)
    assert [head.strip() for head in heads.strip("┃").split("┃")] == ["question", "base model", "lofit"]
    other = ok(lofit("evaluate", *common[:2], "task.max_new_tokens=2")).stdout
    assert "no finished evaluation of the model as it is" in " ".join(other.split())
