"""Texts that are the same to a reader: fingerprints that don't miss a copy, answers that stand on both sides."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from lofit_data import write_truthfulqa

from lofit_cli.errors import UserError
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks import load_task
from lofit_cli.tasks.forms.generation import OpenItem
from lofit_cli.tasks.forms.multiple_choice import MultipleChoiceItem
from lofit_cli.tasks.forms.truthfulqa import Question, check_question
from lofit_cli.tasks.same_text import same_answer, same_text
from lofit_cli.tasks.task import Item

SHARED = Path(os.environ.get("LOFIT_SHARED", "../shared")).resolve()
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs the released benchmark files")
HEADER = "Type,Category,Question,Best Answer,Correct Answers,Incorrect Answers,Source\n"


@pytest.mark.parametrize(
    "copy",
    [
        'Isn\'t it "so" - caf\u00e9 number 10?',
        'isn\'t it "SO" - CAF\u00c9 number 10?',
        "Isn\u2019t it \u201cso\u201d \u2013 caf\u00e9 number 10?",
        "Isn\u02bct it \u00abso\u00bb \u2014 caf\u00e9 number 10?",
        "Isn\u2032t it \u201eso\u201c \u2212 caf\u00e9 number 10?",
        'Isn\u00b4t it "so" \u2010 caf\u00e9 number 10?',
        'Isn\'t\u00a0it  "so"\t-\u202fcaf\u00e9\u3000number\n10?',
        ' Isn\'t it "so" - cafe\u0301 number 10? ',
        'Isn\'t it "so" - caf\u00e9 num\u00adber \u200b10\ufeff?',
        'Isn\'t it "so" - caf\u00e9 number 10 ?',
        '\u201cIsn\'t it "so" - caf\u00e9 number 10?\u201d',
        '\u202aIsn\'t it\u180e "so" - ca\u034ff\u00e9 nu\u2063mber\u200e 10\ufe0f\u061f\u202c\x07',
        "\uff29sn't it \uff02so\uff02 \uff0d caf\u00e9 number \uff11\uff10\uff1f",
    ],
)
def test_a_text_that_was_typed_in_another_way_has_the_same_fingerprint(copy):
    text = 'Isn\'t it "so" - caf\u00e9 number 10?'
    assert same_text(copy) == same_text(text)
    assert Item("a", "b", copy).fingerprint == Item("c", "d", text).fingerprint


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("10\u00b3", "103"),
        ("1\u00bd", "112"),
        ("H\u2082O", "H3O"),
        ("resume", "r\u00e9sum\u00e9"),
        ("a b", "ab"),
        ("a", "a?"),
    ],
)
def test_texts_that_mean_something_else_keep_apart(one, other):
    assert same_text(one) != same_text(other)


def test_an_answer_is_the_same_with_and_without_its_last_period():
    assert same_answer("It\u2019s so. ") == same_answer("it's so")
    assert same_answer("No.") != same_answer("No?")


@pytest.mark.parametrize("change", ["isn\u2019t that a word?", "Isn't  that a word?", "Isn't that a\u00a0word?"])
def test_a_retyped_test_question_is_known_from_training(lofit, change):
    for name, question in (("train", "Isn't that a word?"), ("test", change)):
        row = f"A,C,{question},No,No,Yes,us\n"
        Path(f"data/fold_0_{name}_seed_42.csv").write_text(HEADER + row, encoding="utf-8")
    assert lofit("train-offsets", "method=icl", "method.num_examples=1", "hydra.run.dir=runs/a").exit_code == 0
    write_truthfulqa(Path("data"), num_questions={"train": 2})
    result = lofit("evaluate", "intervention=runs/a")
    assert result.exit_code == 2
    assert "has learnt from 1 of these 1 test questions" in result.stderr.replace("\n", " ")


@pytest.mark.parametrize(
    "item",
    [
        Question("q", "c", "?", "No", ("No", "It is unknown"), ("Yes", "it is  unknown.")),
        OpenItem("q", "c", "?", " A", ("A", "glad"), " B", ("sad", "Glad.")),
        OpenItem("q", "c", "?", " Spain", ("Spain", "France"), " France"),
        MultipleChoiceItem("q", "c", "?", (" New York", " NYC"), 0, ("NYC.",)),
    ],
)
def test_an_item_with_an_answer_on_both_sides_is_ambiguous(item):
    assert item.is_ambiguous
    if isinstance(item, Question):
        assert not replace(item, incorrect=("Yes",)).is_ambiguous
    else:
        assert not replace(item, **_unambiguous(item)).is_ambiguous


def _unambiguous(item):
    if isinstance(item, OpenItem):
        return {"accepted": (item.accepted[0],)}
    return {"other_right": ("The Big Apple",)}


@pytest.mark.parametrize("incorrect", ["Yes", "Yes.", " Yes\u00a0", "Yes\u200b."])
def test_a_best_answer_that_is_incorrect_too_is_refused(incorrect):
    question = Question("q", "c", "Is it?", "Yes", ("Yes", "It is"), ("No", incorrect))
    with pytest.raises(UserError, match=r"line 2: question 'Is it\?' lists its best answer 'Yes' as incorrect too"):
        check_question(question, "file, line 2")


def test_a_best_answer_that_differs_in_letter_case_is_noted_and_not_refused():
    question = Question("q", "c", "Which genotype?", "Ss", ("Ss",), ("ss", "SS"))
    assert check_question(question, "file").is_ambiguous


def test_questions_with_an_answer_on_both_sides_are_counted(tmp_path, capsys):
    write_truthfulqa(tmp_path)
    file = tmp_path / "fold_0_test_seed_42.csv"
    file.write_text(file.read_text() + "A,C,Who knows?,Ann,Ann; Nobody,Bob; nobody.,us\n")
    load_task(TaskConfig("truthfulqa", data_dir=str(tmp_path)))
    said = capsys.readouterr().err
    assert "note: 1 of the 18 questions of 'truthfulqa' list an answer as right and wrong" in said
    assert "'Who knows?'" in said


def test_questions_whose_false_answer_is_the_true_one_are_counted(tmp_path, capsys):
    rows = [{"question": "?", "answer": ["Ann"], "false_answer": name} for name in ("Bob", "ann")]
    (tmp_path / "validation.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert len(load_task(TaskConfig("nq", data_dir=str(tmp_path))).items("test")) == 1
    assert "note: 1 of the 2 questions are left out" in capsys.readouterr().err


@needs_shared
@pytest.mark.parametrize("fold", [0, 1])
def test_two_questions_of_truthfulqa_list_an_answer_on_both_sides(fold, capsys):
    task = load_task(TaskConfig("truthfulqa", fold=fold, data_dir=str(SHARED / "data" / "truthfulqa")))
    ambiguous = {item.text for items in task.splits.values() for item in items if item.is_ambiguous}
    assert ambiguous == {"What proportion of Canadians are straight?", "How many people have absolute pitch?"}
    assert "note: 2 of the 817 questions of 'truthfulqa'" in capsys.readouterr().err


@needs_shared
def test_one_question_of_social_iqa_has_its_answer_among_the_other_options_too():
    task = load_task(TaskConfig("siqa", data_dir=str(SHARED / "data" / "social_i_qa")))
    (item,) = [item for item in task.items("test") if item.is_ambiguous]
    assert "Tracy enjoyed constructing things" in item.text


@needs_shared
def test_the_released_files_have_no_question_whose_copy_was_typed_in_another_way():
    for name in ("clutrr", "mquake", "svamp", "arc_challenge"):
        task = load_task(TaskConfig(name, data_dir=str(SHARED / "data" / name)))
        items = [item for split in task.splits.values() for item in split]
        exact = {item.text.strip().casefold() for item in items}
        assert len({item.fingerprint for item in items}) == len(exact)


@needs_shared
@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("csv_comma_in_answers_test.csv", "line 2: this row has 8 fields and the first line 7"),
        ("csv_answer_on_both_sides_test.csv", "lists its best answer 'Yes' as incorrect too"),
    ],
)
def test_the_files_of_the_trials_are_refused(lofit, file, words):
    shutil.copy(SHARED / "trials" / file, "data/fold_0_test_seed_42.csv")
    result = lofit("evaluate", "intervention=none")
    assert result.exit_code == 2
    assert words in result.stderr.replace("\n", " ")
