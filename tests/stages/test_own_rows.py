"""Questions of the user's own through the four stages, in each form."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.stats import sem
from scipy.stats import t as student
from stage_runs import FAST, manifest, ok

ROWS = {
    "answers": {"question": "What is {i}?", "correct": ["{i}, yes", "it is {i}"], "incorrect": ["no {i}"]},
    "choices": {"question": "Which is {i}?", "choices": ["one {i}", "two {i}", "three"], "answer": "B"},
    "preference": {"prompt": "Which is {i}?", "chosen": "the number {i}", "rejected": "no number {i}"},
    "generation": {"prompt": "Say {i}:", "answer": "word {i}"},
}
NAMES = ("five", "same")
HEADLINES = {"answers": "MC1", "choices": "ACC_NORM_TOKENS", "preference": "MARGIN", "generation": "CONTAINS"}


def written(row, number):
    return json.loads(json.dumps(row).replace("{i}", str(number)))


@pytest.mark.parametrize("form", ROWS)
def test_the_four_stages_take_rows_of_ones_own(lofit, form):
    Path("own.jsonl").write_text("".join(json.dumps(written(ROWS[form], i)) + "\n" for i in range(40)))
    task = ("task=file", "task.data_dir=own.jsonl", "task.max_new_tokens=3", "trainer.validate_every=2")
    select = ok(lofit("select-heads", *task, *FAST, "num_heads=3"))
    assert f"task.form={form}" in select.stderr
    ok(lofit("train-offsets", *task, *FAST))
    ok(lofit("evaluate", "-m", *task[:3], "intervention=none,latest"))
    compared = ok(lofit("compare")).stdout
    assert HEADLINES[form] in compared
    assert "on own.jsonl" in compared


def test_drawn_test_items_are_a_table_of_their_own_and_the_splits_are_written(lofit):
    Path("own.jsonl").write_text("".join(json.dumps(written(ROWS["choices"], i)) + "\n" for i in range(40)))
    task = ("task=file", "task.data_dir=own.jsonl", "intervention=none")
    for name, drawn in (("all", "null"), ("five", "5"), ("same", "5"), ("six", "6")):
        ok(lofit("evaluate", *task, f"task.num_test={drawn}", f"hydra.run.dir=runs/evaluate/{name}"))
    assert [manifest(f"runs/evaluate/{name}")["num_test"] for name in ("all", "five")] == [None, 5]
    splits = json.loads(Path("runs/evaluate/all/splits.json").read_text())
    assert sum(map(len, splits.values())) == 40
    five, same = (pq.read_table(f"runs/evaluate/{n}/predictions.parquet")["question_id"].to_pylist() for n in NAMES)
    assert five == same
    assert set(five) < set(splits["test"])
    shown = ok(lofit("compare")).stdout
    assert "drawn by task.num_test=5" in " ".join(shown.split())
    (folder,) = Path("runs/compare").iterdir()
    assert sorted(str(section["num_test"]) for section in manifest(folder)["sections"]) == ["5", "6", "None"]


def test_what_the_model_cannot_read_is_named_by_its_file_and_row(lofit):
    rows = [written(ROWS["choices"], i) for i in range(40)]
    rows[20]["question"] = "Which " + "word " * 2000
    Path("own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = lofit("evaluate", "task=file", "task.files={test: own.jsonl}", "task.data_dir=null", "intervention=none")
    assert found.exit_code == 2
    assert "question test-21 (own.jsonl, line 21, 'Which word" in found.stderr.replace("\n", " ")


def test_questions_are_shown_without_the_frame_of_a_base_model(lofit):
    Path("own.jsonl").write_text("".join(json.dumps(written(ROWS["choices"], i)) + "\n" for i in range(40)))
    ok(lofit("evaluate", "task=file", "task.data_dir=own.jsonl", "intervention=none", "hydra.run.dir=out"))
    shown = pq.read_table("out/predictions.parquet")["question"].to_pylist()
    assert all(question.startswith("Which is ") and question.endswith("?") for question in shown)


def test_pairs_are_compared_by_their_margins_in_nats(lofit):
    rows = [written(ROWS["preference"], i) for i in range(40)]
    Path("own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = ("task=file", "task.data_dir=own.jsonl")
    evaluated = ok(lofit("evaluate", *task, "intervention=none", "hydra.run.dir=runs/evaluate/base")).stdout
    found = pq.read_table("runs/evaluate/base/predictions.parquet").to_pydict()
    margins = np.array([right - wrong for right, wrong in found["log_probs"]])
    assert found["margin"] == pytest.approx(margins)
    assert f"{margins.mean():.2f} nats" in evaluated
    ok(lofit("train-offsets", *task, "method=red", *FAST))
    ok(lofit("evaluate", *task))
    table = ok(lofit("compare")).stdout
    half = student.ppf(0.975, len(margins) - 1) * sem(margins)
    assert f"{margins.mean():.2f} nats" in table
    assert f"[{margins.mean() - half:.2f}, {margins.mean() + half:.2f}]" in table
    assert " nats may go unnoticed" in " ".join(table.split())


def test_names_of_files_and_columns_are_taken_from_the_command_line(lofit):
    Path("a.csv").write_text("q_text,good,bad,place\nWhy?,so;thus,no,Rome\nHow?,well,badly,Oslo\n")
    columns = "task.columns={question: q_text, correct: good, incorrect: bad}"
    task = ("task=file", "task.data_dir=null", "task.files={test: a.csv}", columns, "task.list_separator=;")
    ok(lofit("evaluate", *task, r"task.prompt=In {place}:\n{question}", "intervention=none", "hydra.run.dir=out"))
    assert pq.read_table("out/predictions.parquet")["question"].to_pylist() == ["In Rome:\nWhy?", "In Oslo:\nHow?"]


def test_a_folder_that_the_datasets_library_reads_is_a_task_too(lofit):
    Path("owner").mkdir()
    for split, first in (("train", 0), ("validation", 20), ("test", 30)):
        rows = [written(ROWS["answers"], i) for i in range(first, first + 6)]
        Path("owner", f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = ("task=hub", "task.hub_id=owner", "task.data_dir=null")
    assert "MC1" in ok(lofit("evaluate", *task, "intervention=none")).stdout
