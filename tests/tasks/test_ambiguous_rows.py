"""Rows that could be read in two ways are refused, and what is measured is told apart from what looks like it."""

import json
from pathlib import Path

import pytest

from lofit_cli.errors import UserError
from lofit_cli.schema.rows import RowsConfig
from lofit_cli.tasks import load_task


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(row):
    Path("a.jsonl").write_text(json.dumps(row) + "\n")
    return "a.jsonl"


def load(**settings):
    return load_task(RowsConfig(name="file", **{"close_answers": False, **settings}))


@pytest.mark.parametrize(("choices", "answer"), [(["5", "0"], "0"), (["B", "A"], "A"), (["12", "9", "1"], "1")])
def test_an_answer_that_means_two_choices_is_refused(choices, answer):
    with pytest.raises(UserError, match="and mean one choice only"):
        load(files={"test": write({"question": "Which?", "choices": choices, "answer": answer})})


def test_lists_in_csv_are_read_as_lists_elsewhere():
    Path("a.csv").write_text('question,choices,answer\nWhy?,"[""B "", ""A ""]",1\n')
    (item,) = load(files={"test": "a.csv"}).items("test")
    assert item.answers == (" B", " A")
    Path("b.csv").write_text('question,choices,answer\nWhy?,"[""x"", "" x""]",0\n')
    with pytest.raises(UserError, match="stands there twice"):
        load(files={"test": "b.csv"})


def test_a_column_that_stands_twice_is_refused():
    Path("a.csv").write_text('question,correct,correct,incorrect\nWhy?,"[""a""]","[""b""]","[""c""]"\n')
    with pytest.raises(UserError, match="has two columns 'correct'"):
        load(files={"test": "a.csv"})


def test_settings_that_write_answers_otherwise_are_other_questions():
    write({"question": "Why?", "correct": ["so"], "incorrect": ["no"]})
    ways = [{}, {"close_answers": True}, {"answer_prefix": " Answer: "}]
    assert len({load(files={"test": "a.jsonl"}, **way).questions_hash("test") for way in ways}) == 3


@pytest.mark.parametrize(
    ("accepted", "said", "right"),
    [
        ("A", "A", 1),
        ("A", "the", 0),
        ("A", "...", 0),
        ("-5", "5", 0),
        ("-5", "-5.", 1),
        ("1.5", "15", 0),
        ("1.5", "1.5", 1),
    ],
)
def test_signs_points_and_single_letters_count(accepted, said, right):
    task = load(files={"test": write({"prompt": "?", "answer": accepted})})
    assert task.measure(task.items("test")[0], said)["em"] == right


def test_a_row_stays_in_its_split_however_it_is_shown():
    rows = [{"question": f"Why {i}?", "answer": "so"} for i in range(60)]
    Path("a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = [load(data_dir="a.jsonl", **shown).splits for shown in ({}, {"prompt": "Say: {question}"})]
    ids = [{split: [item.id for item in items] for split, items in splits.items()} for splits in found]
    assert ids[0] == ids[1]
    assert all(ids[0].values())
