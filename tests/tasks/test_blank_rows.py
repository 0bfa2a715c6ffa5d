"""Own rows with fields that hold nothing, files without a row, and spreadsheets' other marks between columns."""

import json
import re
from pathlib import Path

import pytest

from lofit_cli.errors import UserError
from lofit_cli.schema.rows import RowsConfig
from lofit_cli.tasks import load_task

ROW = {"question": "Why?", "correct": ["so", "thus"], "incorrect": ["no"]}


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def load(content, name="test.jsonl", **settings):
    Path(name).write_text(content, encoding="utf-8")
    return load_task(RowsConfig(name="file", close_answers=False, data_dir=".", **settings)).items("test")


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize("blank", [{"k": None}, {}, {"k": ""}, {"k": "  "}])
@pytest.mark.parametrize("named", [{"category": "k"}, {}])
def test_a_row_without_a_category_is_in_the_one_of_all(blank, named):
    own = {"category" if not named else key: value for key, value in blank.items()}
    rows = [{**ROW, "k" if named else "category": "birds"}, {**ROW, "question": "Who?", **own}]
    assert [item.category for item in load(lines(*rows), columns=named)] == ["birds", "all"]


@pytest.mark.parametrize("blank", [None, "", " "])
def test_a_column_of_ids_or_best_answers_may_have_holes(blank):
    rows = [{**ROW, "key": 0, "first": "thus"}, {**ROW, "question": "Who?", "key": blank, "first": blank}]
    items = load(lines(*rows), columns={"id": "key", "best": "first"})
    assert [(item.id, item.best) for item in items] == [("0", "thus"), ("test-2", "so")]


def test_a_column_that_no_row_has_is_refused_though_its_field_may_be_missing():
    with pytest.raises(UserError, match=r"no row has a column 'kind'; did you mean 'kinds'\?"):
        load(lines({**ROW, "kinds": "birds"}), columns={"category": "kind"})


def test_what_a_row_must_have_is_missing_where_it_holds_nothing():
    rows = [{**ROW, "q": "Why?"}, {**ROW, "q": None}]
    with pytest.raises(UserError, match=r"line 2 has no 'q'; it has question, correct, incorrect$"):
        load(lines(*rows), columns={"question": "q"})


EMPTY = {
    "test.jsonl": ["", "\n", "\ufeff"],
    "test.json": ["", "\n", "\ufeff", "[]"],
    "test.csv": ["", "\n\n", "\ufeff", "question,answer\n"],
    "test.tsv": ["", "question\tanswer\n"],
}


@pytest.mark.parametrize(("name", "content"), [(name, content) for name, all in EMPTY.items() for content in all])
@pytest.mark.parametrize("form", [None, "generation"])
def test_a_file_without_a_row_is_refused_by_name(name, content, form):
    Path("train.jsonl").write_text(lines({"question": "Why?", "answer": "so"}))
    with pytest.raises(UserError, match=re.escape(f"{name} has no rows; put questions into it, a row each")):
        load(content, name, form=form)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("test.csv", "question;answer\nWhy?;so\n", "semicolons between its columns; save it with commas between them"),
        ("test.csv", '"question";"answer, short"\n"Why?";"so, no"\n', "has semicolons between its columns"),
        ("test.csv", "q;a\nWhy?;so, then\n", "has semicolons between its columns"),
        (
            "test.csv",
            "question\tanswer\nWhy?\tso\n",
            "commas between them, or let its name end in .tsv",
        ),
        ("test.csv", "question|answer\nWhy?|so\n", "has vertical bars between its columns"),
        ("test.tsv", "question,answer\nWhy?,so\n", "has commas between its columns; save it with tabs between them"),
        ("test.tsv", "question\tanswer\nWhy?\n", "this row has 1 field and the first line 2; check its tabs"),
    ],
)
def test_a_file_with_other_marks_between_its_columns_is_told_which(name, content, words):
    with pytest.raises(UserError) as refused:
        load(content, name)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_other_marks_inside_names_and_texts_are_theirs():
    items = load('question,answer,"a;b|c"\nWhy?;,so|thus,x\n', "test.csv")
    assert [(item.text, item.accepted) for item in items] == [("Q: Why?;\nA:", ("so|thus",))]


def test_a_suffix_in_capitals_is_the_same_kind_of_file():
    assert len(load(lines(ROW, {**ROW, "question": "Who?"}), "test.JSONL")) == 2
