"""BoolQ, and the tasks whose answers are scored: their prompts, what is right, and files that cannot be used."""

import json

import pytest
from datasets import Dataset
from tiny_models import build_language_model

from lofit_cli.errors import UserError
from lofit_cli.evaluation.measure import measure_split
from lofit_cli.models.logprobs import score_answers
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks import load_task
from lofit_cli.tasks.boolq import says
from lofit_cli.tasks.forms.generation import OpenItem
from lofit_cli.tasks.forms.multiple_choice import MultipleChoiceItem

PASSAGE = {"question": "is it red", "passage": "It is red.", "answer": True, "title": "It"}
QUESTION = {"question": "Who?", "answer": {"value": "Ann", "aliases": ["A."]}, "false_answer": "Bob"}
MMLU = {"question": "Which? ", "subject": "high_school_physics", "choices": ["w", "x", "y", "z"], "answer": 2}


def _load(folder, name, files):
    for file, records in files.items():
        (folder / file).write_text("\n".join(map(json.dumps, records)))
    return load_task(TaskConfig(name, data_dir=str(folder)))


def test_boolq(tmp_path):
    rows = [{**PASSAGE, "passage": f"It is red, {i}."} for i in range(300)]
    task = _load(tmp_path, "boolq", {"train.jsonl": rows, "dev.jsonl": [{**PASSAGE, "answer": False}]})
    assert [len(task.items(split)) for split in ("train", "validation", "test")] == [200, 100, 1]
    assert not task.fingerprints("train") & task.fingerprints("validation")
    (item,) = task.items("test")
    assert item.text == "\nIt is red.\nQuestion: is it red\nAnswer:"
    assert (item.answer, item.accepted, item.wrong) == (" False", ("False",), " True")
    assert task.metrics == ("accuracy",)


@pytest.mark.parametrize(
    ("generated", "right"),
    [("True", True), ("true.", True), ("True, it is", True), ("False", False), ("Truely", False), ("", False)],
)
def test_the_first_word_says_true_or_false(generated, right):
    assert says(generated, OpenItem("i", "c", "?", " True", ("True",), " False")) is right


@pytest.mark.parametrize("name", ["triviaqa", "nq"])
@pytest.mark.parametrize("answer", ["Ann", ["Ann", "A."], {"value": "Ann", "aliases": ["A."]}])
def test_a_true_answer_stands_against_a_false_one(tmp_path, name, answer):
    rows = [{**QUESTION, "answer": answer}, {**QUESTION, "false_answer": "ann"}]
    (item,) = _load(tmp_path, name, {"validation.jsonl": rows}).items("test")
    assert (item.id, item.text, item.answers, item.right) == (f"{name}-0", "Q: Who?\nA:", (" Ann", " Bob"), 0)


def test_mmlu(tmp_path):
    rows = [MMLU, {**MMLU, "subject": "astronomy", "answer": 0}]
    astronomy, physics = _load(tmp_path, "mmlu", {"test.jsonl": rows}).items("test")
    assert physics.text == (
        "The following are multiple choice questions (with answers) about high school physics.\n\n"
        "Which?\nA. w\nB. x\nC. y\nD. z\nAnswer:"
    )
    assert (physics.id, physics.category, physics.answers, physics.right) == (
        "mmlu-0",
        "high_school_physics",
        (" A", " B", " C", " D"),
        2,
    )
    assert astronomy.right == 0


@pytest.mark.parametrize(
    ("name", "split", "row"),
    [
        ("triviaqa", "validation", QUESTION),
        ("nq", "validation", {**QUESTION, "answer": ["Ann"]}),
        ("mmlu", "test", MMLU),
    ],
)
def test_a_dataset_of_the_hub_is_read_like_a_file_and_its_columns_are_checked(tmp_path, name, split, row):
    Dataset.from_list([row]).to_parquet(tmp_path / f"{split}.parquet")
    assert len(load_task(TaskConfig(name, hub_id=str(tmp_path))).items("test")) == 1
    other = tmp_path / "other"
    other.mkdir()
    Dataset.from_list([{"question": "?", "subject": "s"}]).to_parquet(other / f"{split}.parquet")
    with pytest.raises(UserError, match=f"{split} row 1 has no '"):
        load_task(TaskConfig(name, hub_id=str(other)))


def test_boolq_of_the_hub(tmp_path):
    for split, size in (("train", 4), ("validation", 2)):
        Dataset.from_list([PASSAGE] * size).to_parquet(tmp_path / f"{split}.parquet")
    task = load_task(TaskConfig("boolq", hub_id=str(tmp_path)))
    assert [len(task.items(split)) for split in ("train", "validation", "test")] == [2, 2, 2]


@pytest.mark.parametrize(
    ("name", "file", "row", "words"),
    [
        ("boolq", "dev.jsonl", {**PASSAGE, "passage": None}, "dev.jsonl, line 1 has no 'passage'"),
        (
            "boolq",
            "dev.jsonl",
            {**PASSAGE, "answer": "yes"},
            'holds "yes"; it must be true or false',
        ),
        ("triviaqa", "validation.jsonl", {"question": "?", "answer": "A"}, "line 1 has no 'false_answer'"),
        ("triviaqa", "validation.jsonl", {**QUESTION, "answer": {"aliases": []}}, "answer has no 'value'"),
        (
            "nq",
            "validation.jsonl",
            {**QUESTION, "answer": []},
            "it must be one answer or more",
        ),
        (
            "nq",
            "validation.jsonl",
            {**QUESTION, "false_answer": " "},
            "its field 'false_answer' is empty",
        ),
        ("mmlu", "test.jsonl", {**MMLU, "subject": None}, "test.jsonl, line 1 has no 'subject'"),
        ("mmlu", "test.jsonl", {**MMLU, "choices": ["x"]}, "must be a list of 4 texts"),
        ("mmlu", "test.jsonl", {**MMLU, "answer": 4}, "its right answer 4 is not one of 0 to 3"),
        ("mmlu", "test.jsonl", {**MMLU, "choices": "wxyz"}, 'holds "wxyz"; it must be a list of texts'),
        ("mmlu", "test.jsonl", {**MMLU, "choices": ["w", "x", "y", 4]}, "it must be a list of texts"),
        ("mmlu", "test.jsonl", {**MMLU, "answer": True}, "it must be a whole number from 0 to 3"),
        ("nq", "validation.jsonl", {**QUESTION, "false_answer": ["Bob"]}, "it must be some text"),
        ("nq", "validation.jsonl", {**QUESTION, "question": {"text": "Who?"}}, "it must be some text"),
        ("triviaqa", "validation.jsonl", {**QUESTION, "answer": {"value": "Ann", "aliases": "A."}}, "a list of texts"),
        ("boolq", "dev.jsonl", {**PASSAGE, "passage": " "}, "its field 'passage' is empty"),
        ("boolq", "dev.jsonl", {**PASSAGE, "question": 3}, "its field 'question' holds 3; it must be some text"),
        ("mmlu", "test.jsonl", {**MMLU, "answer": "C"}, "it must be a whole number from 0 to 3"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path, name, file, row, words):
    with pytest.raises(UserError, match=words):
        _load(tmp_path, name, {file: [row]})


@pytest.mark.parametrize(
    ("name", "file"), [("boolq", "dev"), ("triviaqa", "validation"), ("nq", "validation"), ("mmlu", "test")]
)
def test_missing_files_are_named(tmp_path, name, file):
    with pytest.raises(UserError, match=f"has no file {file}.jsonl"):
        load_task(TaskConfig(name, data_dir=str(tmp_path)))


def test_a_task_with_a_test_split_only_says_so(tmp_path):
    task = _load(tmp_path, "mmlu", {"test.jsonl": [MMLU]})
    with pytest.raises(UserError, match="task 'mmlu' has a test split only"):
        task.items("train")


@pytest.mark.parametrize(
    ("log_probs", "right"), [([-3, -1, -2], 1), ([-1, -3, -2], 0), ([-1, -1, -2], 0), ([-9, -1, -9], 1)]
)
def test_right_is_to_find_the_right_answer_likelier_than_every_other(tmp_path, log_probs, right):
    task = _load(tmp_path, "mmlu", {"test.jsonl": [MMLU]})
    assert task.measure(MultipleChoiceItem("i", "c", "?", ("a", "b", "c"), 1), log_probs) == {"accuracy": right}


def test_a_split_is_scored_item_by_item():
    lm = build_language_model("llama")
    task = load_task(TaskConfig("mmlu", data_dir="sample"))
    predictions = measure_split(lm, task, "test", "iti")
    for prediction, item in zip(predictions, task.items("test"), strict=True):
        (alone,) = score_answers(lm, [(item.text, item.answers)])
        assert prediction.log_probs == pytest.approx(alone, abs=1e-3)
        assert prediction.metrics["accuracy"] == float(alone.index(max(alone)) == item.right)
        assert prediction.correct == [i == item.right for i in range(4)]
