"""Rows of the user's own in other frames: known again by what they ask, and asked what another row asks."""

import json
from dataclasses import replace

import pytest

from lofit_cli.errors import UserError
from lofit_cli.schema.rows import RowsConfig
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks import load_task
from lofit_cli.tasks.forms.truthfulqa import Question

ANSWERS = {"question": "Why?", "correct": ["so", "thus"], "incorrect": ["no"]}


@pytest.fixture
def write(tmp_path):
    def write(name, *rows):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(tmp_path / name)

    return write


def load(**settings):
    return load_task(RowsConfig(name="file", **settings))


def test_a_question_is_known_again_in_another_frame_and_in_a_benchmark(write):
    file = write("a.jsonl", ANSWERS)
    bare = Question("1", "", ANSWERS["question"], "so", ("so",), ("no",))
    for frame in ({}, {"prompt": "Tell me. {question}\n"}):
        assert load(files={"test": file}, **frame).fingerprints("test") == {bare.fingerprint}


def test_one_question_about_two_texts_is_two_items(write):
    rows = [{**ANSWERS, "about": about} for about in ("Rain.", "Snow.")]
    files = {"validation": write("a.jsonl", rows[0]), "test": write("b.jsonl", rows[1])}
    task = load(files=files, prompt="{about} {question}")
    assert task.fingerprints("validation").isdisjoint(task.fingerprints("test"))


def test_a_chat_model_is_asked_the_swapped_question_too(write):
    file = write("a.jsonl", *({**ANSWERS, "question": f"Why {i}?"} for i in range(4)))
    task = load(files={"test": file})
    swapped = replace(task, config=replace(task.config, swap_questions=["test"]))
    asked = [(example.prompt.text, example.prompt.turns[0].content) for example in swapped.examples("test")]
    assert asked == [(f"Q: Why {i}?\nA:", f"Why {i}?") for i in (2, 3, 0, 1)]
    assert [item.shown for item in swapped.items("test")] == [f"Why {i}?" for i in (2, 3, 0, 1)]


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Which?", "choices": ["red", "green"], "answer": "green"},
        {"prompt": "Say it:", "answer": ["yes", "yeah"]},
        {"prompt": "Say", "chosen": "yes", "rejected": "no"},
    ],
)
def test_periods_are_for_answers_only(row, write):
    file = write("a.jsonl", row)
    with pytest.raises(UserError, match=r"task.close_answers=true is for task.form=answers; leave it out for"):
        load(files={"test": file}, close_answers=True)


def test_rows_have_their_own_usual_settings_where_only_common_ones_are_given(write, tmp_path):
    write("test.jsonl", ANSWERS)
    found = load_task(TaskConfig("file", data_dir=str(tmp_path), max_new_tokens=7)).config
    assert (found.close_answers, found.append_eos, found.max_new_tokens) == (False, True, 7)
