"""Questions of the user's own: each form, each kind of file, and what is wrong in one sentence."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lofit_cli.artifacts.predictions import LogProb
from lofit_cli.errors import UserError
from lofit_cli.prompts import ask
from lofit_cli.schema.rows import RowsConfig
from lofit_cli.tasks import load_task
from lofit_cli.tasks.forms.own_rows import normalised, word_f1

ANSWERS = {"question": "Why?", "correct": ["so", "thus"], "incorrect": ["no"]}
CHOICES = {"question": "Which?", "choices": ["red", "green"], "answer": "green"}
TEXT = {"prompt": "Say it:", "answer": ["yes", "yeah"]}


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(name, *rows):
    file = Path(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif file.suffix == ".json":
        file.write_text(json.dumps(rows))
    elif file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), file)
    else:
        between = {".csv": ",", ".tsv": "\t"}[file.suffix]
        lines = [list(rows[0]), *([_cell(value, between) for value in row.values()] for row in rows)]
        file.write_text("".join(between.join(line) + "\n" for line in lines))
    return name


def _cell(value, between):
    text = json.dumps(value) if isinstance(value, list) else str(value)
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if between in text or '"' in text else text


def load(**settings):
    return load_task(RowsConfig(name="file", **{"close_answers": False, **settings}))


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "tsv", "parquet"])
@pytest.mark.parametrize("row", [ANSWERS, CHOICES])
def test_each_kind_of_file_holds_the_same_rows(row, suffix):
    write(f"d/test.{suffix}", row)
    write("e/test.jsonl", row)
    assert load(data_dir="d").splits == load(data_dir="e").splits


def test_answers_are_scored_and_trained_on_after_the_prompt_alone():
    task = load(files={"test": write("a.jsonl", ANSWERS)})
    (item,) = task.items("test")
    assert task.metrics == ("mc1", "mc2", "mc3")
    assert task.prompt(item, "iti") == ask("Q: Why?\nA:", "Why?")
    assert task.answers(item) == (" so", " thus", " no")
    assert task.examples("test") == [(ask("Q: Why?\nA:", "Why?"), (" so", " no"), 1)]
    assert task.protocol("iti", "test") == "zero-shot"
    closed = load(files={"test": "a.jsonl"}, close_answers=True)
    assert closed.answers(closed.items("test")[0]) == (" so.", " thus.", " no.")


def test_a_best_answer_is_the_first_unless_it_is_named():
    first, named, other = (
        load(files={"test": write("a.jsonl", {**ANSWERS, **best})}).items("test")[0]
        for best in ({}, {"best": "thus"}, {"best": "hence"})
    )
    assert (first.best, named.best) == ("so", "thus")
    assert (other.best, other.correct) == ("hence", ("hence", "so", "thus"))


@pytest.mark.parametrize(
    ("choices", "answer", "right"),
    [
        (["red", "green"], "green", 1),
        (["red", "green"], 1, 1),
        (["red", "green"], "0", 0),
        (["red", "green"], "b", 1),
        (["5", "7"], "7", 1),
        (["9", "0", "1"], 1, 1),
        (["A ", "B "], "B", 1),
    ],
)
def test_the_right_choice_is_named_by_text_or_letter_or_number(choices, answer, right):
    task = load(files={"test": write("a.jsonl", {**CHOICES, "choices": choices, "answer": answer})})
    assert task.items("test")[0].right == right


@pytest.mark.parametrize(
    ("red", "green", "right"),
    [((-3.0, 1), (-4.0, 1), (0, 1, 0)), ((-3.0, 1), (-6.0, 3), (0, 0, 1)), ((-3.0, 2), (-2.0, 1), (1, 1, 0))],
)
def test_choices_are_told_as_they_are_and_per_character_and_per_token(red, green, right):
    task = load(files={"test": write("a.jsonl", CHOICES)})
    found = task.measure(task.items("test")[0], [LogProb(*red), LogProb(*green)])
    assert found == dict(zip(("accuracy", "acc_norm", "acc_norm_tokens"), right, strict=True))


def test_choices_can_be_learnt_right_against_wrong():
    files = {"test": write("a.jsonl", CHOICES)}
    assert [load(files=files, objective=name).objective for name in (None, "sft", "dpo")] == ["sft", "sft", "dpo"]
    with pytest.raises(UserError, match=r"task\.objective=dpo is for task\.form=choices; leave it out for answers"):
        load(files={"test": write("b.jsonl", ANSWERS)}, objective="dpo")


def test_what_is_generated_is_measured_in_three_ways():
    task = load(files={"test": write("a.jsonl", TEXT, {"prompt": "And?", "answer": "The end."})})
    first, second = task.items("test")
    assert (first.answer, first.wrong, first.accepted) == (" yes", " The end.", ("yes", "yeah"))
    assert task.measure(first, "Yeah!") == {"em": 1.0, "f1": 1.0, "contains": 1.0}
    assert task.measure(second, "the very end") == {"em": 0.0, "f1": pytest.approx(2 / 3), "contains": 1.0}
    assert task.measure(first, "yesterday") == {"em": 0.0, "f1": 0.0, "contains": 0.0}


def test_texts_are_made_alike_as_squad_does():
    assert normalised("The  cat's, a HAT!") == "cats hat"
    assert word_f1("", "") == 1.0
    assert word_f1("a a b", "a b b") == pytest.approx(2 * 2 / 6)


def test_columns_prompt_and_separator_fit_other_peoples_files():
    Path("q.csv").write_text("frage,gut,schlecht,ort\nWarum?,so;darum,nein,Wien\n")
    task = load(
        files={"test": "q.csv"},
        columns={"question": "frage", "correct": "gut", "incorrect": "schlecht", "category": "ort"},
        prompt=r"In {ort}: {question}\n",
        list_separator=";",
    )
    (item,) = task.items("test")
    assert (item.text, item.correct, item.category) == ("In Wien: Warum?\n", ("so", "darum"), "Wien")


def many(number, start=0):
    return [{"prompt": f"number {i}", "answer": f"{i}"} for i in range(start, start + number)]


def test_a_file_of_all_rows_is_split_by_their_text(capsys):
    write("all.jsonl", *many(1000))
    task = load(data_dir="all.jsonl")
    assert 540 < len(task.splits["train"]) < 660
    assert 60 < len(task.splits["validation"]) < 140
    assert "task.form=generation" in capsys.readouterr().err
    where = {item.text: split for split, items in task.splits.items() for item in items}
    write("all.jsonl", *many(500, start=2000), *many(1000))
    more = load(data_dir="all.jsonl").splits
    assert {item.text: split for split, items in more.items() for item in items if item.text in where} == where


def test_a_missing_split_is_taken_from_the_training_rows_only():
    write("d/train.jsonl", *many(200))
    write("d/test.jsonl", *many(20, start=1000))
    splits = load(data_dir="d").splits
    assert len(splits["test"]) == 20
    assert 0 < len(splits["validation"]) < 60
    assert len(splits["train"]) + len(splits["validation"]) == 200


def test_of_fifty_thousand_rows_some_are_trained_on():
    write("all.jsonl", *many(50_000))
    task = load(data_dir="all.jsonl", num_train=100)
    assert len(task.items("train")) == 100


REFUSED = {
    "nothing named": ({}, [], "task.data_dir must be set for task 'file'"),
    "not there": ({"data_dir": "nowhere"}, [], "task.data_dir=nowhere is neither a folder nor a file"),
    "file not there": ({"files": {"test": "x.csv"}}, [], "task.files.test=x.csv is not a file"),
    "another kind of file": ({"files": {"test": "LIST.txt"}}, [], "ends in '.txt'; a file of rows ends in .jsonl"),
    "no column": ({}, [{**ANSWERS, "incorrect": None}], "a row needs a question with correct and incorrect answers"),
    "no question": ({}, [{"correct": ["a"], "incorrect": ["b"]}], "line 1 has no 'question'"),
    "a column that is not there": ({"columns": {"question": "q"}}, [ANSWERS], "no row has a column 'q'"),
    "a field that no form has": ({"columns": {"qestion": "q"}}, [ANSWERS], "did you mean 'question'?"),
    "no list": ({}, [{**ANSWERS, "correct": "so; thus"}], "set task.list_separator=';'"),
    "a number in a list": ({}, [ANSWERS, {**ANSWERS, "incorrect": [1]}], "line 2: its field 'incorrect' holds [1]"),
    "no such choice": ({}, [{**CHOICES, "answer": "blue"}], "its field 'answer' holds \"blue\""),
    "a choice too far": ({}, [{**CHOICES, "answer": 2}], "its field 'answer' holds 2"),
    "one choice": ({}, [{**CHOICES, "choices": ["green"]}], "an item needs two answers or more"),
    "no answer": ({}, [{**TEXT, "answer": []}], "it must be one answer or more"),
    "no place": ({"prompt": "What?"}, [ANSWERS], "has no place for a row's field"),
    "a place without a field": ({"prompt": "{ort}: {question}"}, [ANSWERS], "line 1 has no 'ort'"),
    "another form": ({"form": "choices"}, [ANSWERS], "line 1 has no 'choices'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused_by_name(case):
    settings, rows, words = REFUSED[case]
    Path("LIST.txt").write_text("a\n")
    if rows:
        settings = {"files": {"test": write("a.jsonl", *rows)}, **settings}
    with pytest.raises(UserError) as error:
        load(**settings)
    assert words in str(error.value)


def test_two_files_for_a_split_and_none_are_refused():
    write("d/val.jsonl", TEXT)
    write("d/dev.csv", {"prompt": "Say it:", "answer": "yes"})
    with pytest.raises(UserError, match=r"has dev\.csv and val\.jsonl for its validation split"):
        load(data_dir="d")
    write("e/one.jsonl", TEXT)
    write("e/two.jsonl", TEXT)
    with pytest.raises(UserError, match=r"has one\.jsonl, two\.jsonl; call one train"):
        load(data_dir="e")


def test_an_item_in_two_files_is_refused_however_it_was_typed():
    write("d/train.jsonl", *many(3), {"prompt": "It’s  late", "answer": "x"})
    write("d/test.jsonl", {"prompt": "it's late", "answer": "y"})
    with pytest.raises(UserError, match=r"1 item stands in two splits, train-4 \(d/train.jsonl, line 4, 'It’s late'\)"):
        load(data_dir="d", shares={"train": 1.0})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"form": "answer"}, "did you mean 'answers'?"),
        ({"files": {"tst": "a"}}, "did you mean 'test'?"),
        ({"shares": {"train": 0.5}}, "add up to 0.5"),
        ({"shares": {"train": 2.0, "test": -1.0}}, "task.shares.train=2.0 is not allowed"),
        ({"files": "a.csv"}, "task.files=a.csv is not allowed; write names and texts"),
        ({"columns": {"question": ["a"]}}, "task.columns={'question': ['a']} is not allowed"),
        ({"list_separator": ""}, "task.list_separator= is empty"),
    ],
)
def test_settings_that_cannot_be(settings, words):
    with pytest.raises(UserError) as error:
        RowsConfig(name="file", **settings)
    assert words in str(error.value)
