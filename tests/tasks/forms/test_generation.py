"""Tasks whose answers are generated: their prompts, their splits, and what counts as right."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from lofit_cli.errors import UserError
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks import load_task
from lofit_cli.tasks.arc_challenge import chooses
from lofit_cli.tasks.forms.generation import OpenItem, exact_match
from lofit_cli.tasks.svamp import has_value, work_out

SHARED = Path(os.environ.get("LOFIT_SHARED", "../shared")).resolve() / "data"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="needs the released benchmark files")

STORY = {"id": "s1", "story": "[Ann] met her son [Bob].", "query": "('Ann', 'Bob')", "target_text": "son"}
CASE = {
    "case_id": 7,
    "requested_rewrite": [{"prompt": "{} is a citizen of", "subject": "Ann", "target_new": {"str": "Peru"}}],
    "questions": ["Where is Bob's mother a citizen?", "another wording"],
    "answer": "France",
    "new_answer": "Peru",
    "new_answer_alias": ["Republic of Peru"],
    "new_single_hops": [{}, {}],
}
CHOICE = {"question": "Which is red?", "choices": {"text": ["sky", "blood"], "label": ["A", "B"]}, "answerKey": "B"}
PROBLEM = {
    "ID": "p1",
    "Body": "Ann has 5 pens and loses 2",
    "Question": "How many has she?",
    "Equation": "( 5.0 - 2.0 )",
    "Answer": 3.0,
    "Type": "Subtraction",
}


def _write(folder, files):
    for name, records in files.items():
        text = "\n".join(map(json.dumps, records)) if name.endswith(".jsonl") else json.dumps(records)
        (folder / name).write_text(text)
    return str(folder)


def _clutrr(folder, **changes):
    other = {**STORY, "target_text": "nephew"}
    files = {"train.json": [{**STORY, **changes}, other], "val.json": [STORY], "test.json": [STORY]}
    return load_task(TaskConfig("clutrr", data_dir=_write(folder, files)))


def test_clutrr(tmp_path):
    item = _clutrr(tmp_path).items("train")[0]
    assert item.text == (
        'Read the following story about a family. "Ann met her son Bob." Assume the relations described in the story '
        "are all true. Based on relations between the fictional characters in the story (assume the relations are all "
        "true) and your commonsense knowledge about family relationship, how is Bob related to Ann? "
        "Answer: Bob is Ann 's"
    )
    assert (item.answer, item.accepted, item.wrong) == ("\nson", ("son",), "\nnephew")


@pytest.mark.parametrize(
    ("changes", "words"), [({"query": "Ann"}, "not a pair of names"), ({"story": None}, "has no 'story'")]
)
def test_clutrr_story_that_cannot_be_used(tmp_path, changes, words):
    with pytest.raises(UserError, match=words):
        _clutrr(tmp_path, **changes)


def test_mquake(tmp_path):
    folder = _write(tmp_path, {f"{split}.jsonl": [CASE] for split in ("train", "val", "test")})
    (item,) = load_task(TaskConfig("mquake", data_dir=folder)).items("test")
    assert item.text == "Q: Imagine that Ann is a citizen of Peru. Where is Bob's mother a citizen? A:"
    assert (item.category, item.answer, item.wrong) == ("2 hops", " Peru", " France")
    assert exact_match("republic of peru ", item)
    assert exact_match("Republic of Peru.\n", item)
    assert not exact_match("Peru, I think", item)


def test_arc_challenge(tmp_path):
    folder = _write(tmp_path, {"train.jsonl": [CHOICE] * 4, "test.jsonl": [CHOICE]})
    task = load_task(TaskConfig("arc_challenge", data_dir=folder))
    assert [len(task.items(split)) for split in ("train", "validation", "test")] == [2, 2, 1]
    (item,) = task.items("test")
    assert item.text == (
        "\nPlease choose the correct answer to the question.\nQuestion: Which is red?\nA. sky\nB. blood\nAnswer:"
    )
    assert task.metrics == ("accuracy",)


@pytest.mark.parametrize(
    ("generated", "right"),
    [
        *(
            (text, True)
            for text in ("A", "A.", "a", "(A)", "A: a whale", "A, surely", "A) a whale", "a whale", "A Whale.")
        ),
        *((text, False) for text in ("B", "B. A bat flies", "A bat flies", "A bat flies.", "A bird", "As", "")),
    ],
)
def test_a_letter_or_an_options_text_chooses(generated, right):
    item = OpenItem("i", "c", "?", " A", ("A", "A whale"), " B", ("A bat flies.",))
    assert chooses(generated, item) is right


@pytest.mark.parametrize(
    ("generated", "right"),
    [
        *((text, True) for text in ("B", "B because it is red", "B blood", "B - blood", "Blood.", "(B) blood")),
        *((text, False) for text in ("A blood", "Bats", "B flat", "b flat")),
    ],
)
def test_a_letter_that_is_no_word_may_stand_before_a_space(generated, right):
    item = OpenItem("i", "c", "?", " B", ("B", "blood"), " A", ("B flat",))
    assert chooses(generated, item) is right


def test_siqa_can_be_measured_without_training_files(tmp_path):
    task = load_task(TaskConfig("siqa", data_dir=_write(tmp_path, {"test.jsonl": [CHOICE]}), num_train=100))
    assert len(task.items("test")) == 1
    with pytest.raises(UserError, match="no questions in its train split"):
        task.items("train")


def test_an_answer_that_is_no_option_is_refused(tmp_path):
    folder = _write(tmp_path, {"test.jsonl": [{**CHOICE, "answerKey": "E"}]})
    with pytest.raises(UserError, match="its answer 'E' is not one of its options A, B"):
        load_task(TaskConfig("siqa", data_dir=folder))


def test_svamp(tmp_path):
    folder = _write(tmp_path, {"SVAMP.json": [PROBLEM]})
    (item,) = load_task(TaskConfig("svamp", data_dir=folder)).items("test")
    assert item.text == "Question: Ann has 5 pens and loses 2 How many has she?\nEquation:"
    assert item.answer == " ( 5.0 - 2.0 )"
    assert has_value("( 5 - 2 ) = 3", item)
    assert not has_value(item.wrong, item)


@pytest.mark.parametrize(("equation", "value"), [("( 6.0 / 4.0 )", 1.5), ("2*(3+4)-1", 13), ("-2 + 5", 3), ("7", 7)])
def test_equations_are_worked_out(equation, value):
    assert work_out(equation) == value


@pytest.mark.parametrize("text", ["1 / 0", "abs(3)", "2 ** 9", "", "3 +", "x", "'a' * 3", "True + 1", "(" * 500])
def test_what_is_not_arithmetic_has_no_value(text):
    assert work_out(text) is None


def test_the_number_of_training_items_can_be_set_and_its_draw_is_fixed(tmp_path):
    folder = _write(tmp_path, {"SVAMP.json": [{**PROBLEM, "ID": str(i)} for i in range(40)]})
    tasks = [load_task(TaskConfig("svamp", data_dir=folder, num_train=size)) for size in (5, 5, None, 15)]
    assert [len(tasks[2].splits[split]) for split in ("train", "validation", "test")] == [14, 14, 12]
    draws = [[item.id for item in task.items("train")] for task in tasks[:2]]
    assert draws[0] == draws[1]
    assert len(set(draws[0])) == 5
    assert tasks[0].facts()["dataset_hash"] == tasks[2].facts()["dataset_hash"]
    with pytest.raises(UserError, match=r"task.num_train=15 is more than the 14 training items"):
        tasks[3].items("train")


@pytest.mark.parametrize("name", ["clutrr", "mquake", "svamp", "arc_challenge", "siqa"])
def test_missing_files_are_named(tmp_path, name):
    with pytest.raises(UserError, match="has no file"):
        load_task(TaskConfig(name, data_dir=str(tmp_path)))


@needs_data
def test_the_released_files_have_the_papers_sizes():
    sizes = {}
    for name, folder in (("clutrr", "clutrr"), ("mquake", "mquake"), ("svamp", "svamp"), ("arc_challenge",) * 2):
        splits = load_task(TaskConfig(name, data_dir=str(SHARED / folder))).splits
        sizes[name] = [len(splits[split]) for split in ("train", "validation", "test")]
    assert sizes == {
        "clutrr": [3151, 450, 450],
        "mquake": [134, 95, 864],
        "svamp": [350, 350, 300],
        "arc_challenge": [820, 299, 1172],
    }
    assert len(load_task(TaskConfig("siqa", data_dir=str(SHARED / "social_i_qa"))).items("test")) == 1954


@needs_data
def test_the_released_files_have_the_papers_relations_and_hops():
    clutrr = load_task(TaskConfig("clutrr", data_dir=str(SHARED / "clutrr")))
    assert len({item.category for item in clutrr.items("train")}) == 18
    mquake = load_task(TaskConfig("mquake", data_dir=str(SHARED / "mquake")))
    assert Counter(item.category for item in mquake.items("test")) == {"2 hops": 393, "3 hops": 287, "4 hops": 184}


@needs_data
@pytest.mark.parametrize("name", ["clutrr", "mquake", "svamp", "arc_challenge"])
def test_every_training_answer_of_the_released_files_counts_as_right_and_its_wrong_one_as_wrong(name):
    task = load_task(TaskConfig(name, data_dir=str(SHARED / name)))
    for split in ("train", "test"):
        for item in task.items(split):
            assert task.is_right(item.answer.strip(), item), item
        wrong = [item for item in task.items(split) if task.is_right(item.wrong.strip(), item)]
        assert len(wrong) <= 0.01 * len(task.items(split)), wrong[0]
