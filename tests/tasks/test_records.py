"""Files of questions: what cannot be read as it was meant is refused by file, line and field."""

import json
import re

import pytest
from datasets import Dataset
from lofit_data import write_truthfulqa

from lofit_cli.errors import UserError
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks import load_task
from lofit_cli.tasks.records import read_records

HEADER = "Type,Category,Question,Best Answer,Correct Answers,Incorrect Answers,Source\n"
CASE = {
    "case_id": 1,
    "requested_rewrite": [{"prompt": "{} is in", "subject": "Paris", "target_new": {"str": "Spain"}}],
    "questions": ["Where is Paris?"],
    "answer": "France",
    "new_answer": "Spain",
    "new_answer_alias": [],
    "new_single_hops": [{}, {}],
}
CHOICE = {"question": "Which is red?", "choices": {"text": ["sky", "blood"], "label": ["A", "B"]}, "answerKey": "B"}
STORY = {"id": "s1", "story": "[Ann] met her son [Bob].", "query": "('Ann', 'Bob')", "target_text": "son"}
PROBLEM = {"ID": "p", "Body": "b", "Question": "q", "Equation": "( 5.0 - 2.0 )", "Answer": 3.0, "Type": "Subtraction"}


def test_lines_end_at_line_feeds_only(tmp_path):
    rows = [{"text": "one\u2028line\u0085still"}, {"text": "two"}]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n", encoding="utf-8")
    records = read_records(file)
    assert [record.content for record in records] == rows
    assert [record.source for record in records] == [f"{file}, line 1", f"{file}, line 3"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "an object has two values for 'c'"),
        ('{"a": "\\ud83d"}', "has half a character, the lone surrogate \\ud83d"),
        ('{"a": [{"\\udc00": 1}]}', "has half a character, the lone surrogate \\udc00"),
        ('{"a": NaN}', "NaN is no number of JSON"),
        ('{"a": 1', "Expecting ',' delimiter, column 8"),
        ("[1]", "is not a JSON object"),
        ('{"a": ' + "[" * 100_000, "could not be read"),
        ('{"a": ' + "1" * 5_000 + "}", "could not be read"),
    ],
)
def test_a_line_that_is_no_good_is_named(tmp_path, row, words):
    (tmp_path / "rows.jsonl").write_text(f'{{"a": 1}}\n\n{row}\n')
    with pytest.raises(UserError, match=re.escape(words)) as refused:
        read_records(tmp_path / "rows.jsonl")
    assert "rows.jsonl, line 3" in str(refused.value)
    assert len(str(refused.value)) < 400


def test_a_whole_pair_of_surrogates_is_one_character(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"a": "\\ud83d\\ude00"}')
    assert read_records(tmp_path / "rows.jsonl")[0].content == {"a": "\N{GRINNING FACE}"}


def test_a_record_of_a_list_is_named_by_its_number(tmp_path):
    (tmp_path / "rows.json").write_text('[{"a": 1}, {"a": "\\udfff"}]')
    with pytest.raises(UserError, match=r"rows.json, record 2 has half a character"):
        read_records(tmp_path / "rows.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"requested_rewrite": []}, "its requested_rewrite has 0 changes"),
        ({"requested_rewrite": CASE["requested_rewrite"] * 2}, "its requested_rewrite has 2 changes; a case needs one"),
        ({"requested_rewrite": [{**CASE["requested_rewrite"][0], "prompt": "is in"}]}, "a text with {} where"),
        ({"requested_rewrite": [{**CASE["requested_rewrite"][0], "target_new": "Spain"}]}, "an object with fields"),
        ({"questions": []}, "a list of one question or more"),
        (
            {"questions": "Where is Paris?"},
            'holds "Where is Paris?"; it must be a list of texts',
        ),
        ({"new_answer_alias": 3}, "its field 'new_answer_alias' holds 3; it must be a list of texts"),
        ({"new_answer_alias": "Kingdom of Spain"}, "it must be a list of texts"),
        ({"new_answer_alias": [""]}, "it must be a list of texts"),
        ({"new_single_hops": "ab"}, "its field 'new_single_hops' holds \"ab\"; it must be a list of objects"),
        ({"new_answer": "france."}, "its new_answer and its answer are 'France'"),
        ({"case_id": [1]}, "its field 'case_id' holds [1]; it must be some text"),
    ],
)
def test_a_field_of_another_type_is_one_sentence(tmp_path, change, words):
    for name in ("train", "val", "test"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({**CASE, **change}))
    with pytest.raises(UserError, match=f"train.jsonl, line 1.*{re.escape(words)}"):
        load_task(TaskConfig("mquake", data_dir=str(tmp_path)))


@pytest.mark.parametrize(
    ("name", "file", "row", "words"),
    [
        ("siqa", "test.jsonl", {**CHOICE, "choices": {"text": "ab", "label": ["A", "B"]}}, "a list of texts"),
        ("siqa", "test.jsonl", {**CHOICE, "choices": {"text": ["a", "b"], "label": "AB"}}, "a list of texts"),
        ("siqa", "test.jsonl", {**CHOICE, "choices": {"text": ["a", "b"], "label": ["B", "B"]}}, "each needs its own"),
        ("siqa", "test.jsonl", {**CHOICE, "question": {"stem": "?"}}, 'holds {"stem": "?"}; it must be some text'),
        ("clutrr", "train.json", {**STORY, "story": ["Ann"]}, "its field 'story' holds"),
        ("clutrr", "train.json", {**STORY, "target_text": 3}, "its field 'target_text' holds 3"),
        ("svamp", "SVAMP.json", {**PROBLEM, "Answer": "three"}, 'holds "three"; it must be a number'),
        ("svamp", "SVAMP.json", {**PROBLEM, "Answer": True}, "it must be a number"),
        ("svamp", "SVAMP.json", {**PROBLEM, "Answer": "nan"}, "it must be a number"),
        ("svamp", "SVAMP.json", {**PROBLEM, "Equation": 3}, "it must be some text"),
    ],
)
def test_every_reader_refuses_a_field_of_another_type(tmp_path, name, file, row, words):
    rows = {"clutrr": STORY, "siqa": CHOICE, "svamp": PROBLEM}
    for other in ("train.json", "val.json", "test.json"):
        (tmp_path / other).write_text(json.dumps([rows[name]]))
    text = json.dumps(row)
    (tmp_path / file).write_text(text if file.endswith("l") else f"[{text}]")
    with pytest.raises(UserError, match=re.escape(words)) as refused:
        load_task(TaskConfig(name, data_dir=str(tmp_path)))
    assert file in str(refused.value)


def test_an_answer_that_stands_in_the_hubs_version_as_one_text_is_refused(tmp_path):
    row = {"category": "c", "question": "?", "best_answer": "a", "correct_answers": "a", "incorrect_answers": ["b"]}
    Dataset.from_list([row]).to_parquet(tmp_path / "validation.parquet")
    with pytest.raises(UserError, match="its field 'correct_answers' holds \"a\"; it must be a list of texts"):
        load_task(TaskConfig("truthfulqa", hub_id=str(tmp_path)))


def _load_csv(folder, content):
    write_truthfulqa(folder)
    (folder / "fold_0_test_seed_42.csv").write_text(content, encoding="utf-8", newline="")
    return load_task(TaskConfig("truthfulqa", data_dir=str(folder)))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("A,C,Is it?,No,No, they make spores,Yes,us", "line 3: this row has 8 fields and the first line 7"),
        ("A,C,Is it, or not?,No,No,Yes,us", "line 3: this row has 8 fields and the first line 7"),
        ("A,C,Is it?,No,No,Yes", "line 3: this row has 6 fields and the first line 7"),
        ("A,C,Is it?,No,No,Yes,us,", "line 3: this row has 8 fields and the first line 7"),
        ('A,C,"Is it?,No,No,Yes,us', "line 3 could not be read (unexpected end of data)"),
        ('A,C,"Is" it?,No,No,Yes,us', "line 3 could not be read (',' expected after '\"')"),
    ],
)
def test_a_row_that_would_be_read_shifted_is_refused(tmp_path, row, words):
    with pytest.raises(UserError, match=re.escape(words)):
        _load_csv(tmp_path, f"{HEADER}A,C,Was it?,No,No,Yes,us\n{row}")


def test_a_row_is_named_by_the_line_it_ends_on_whatever_its_texts_hold(tmp_path):
    rows = 'A,C,"Is\nit?",No,No,Yes,us\nA,C,Was\u2028it?,No,No,Yes,us\n\nA,C,?,No\n'
    with pytest.raises(UserError, match="line 6: this row has 4 fields"):
        _load_csv(tmp_path, HEADER + rows)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_text_with_commas_and_lines_in_quotation_marks_is_read(tmp_path, end):
    rows = ['A,C,"Is it,\nor not?","No, never","No, never; ""Hm""",Yes,us', "", "A,C,Was it?,No,No,Yes,us", ""]
    items = _load_csv(tmp_path, HEADER.strip() + end + end.join(rows)).items("test")
    assert [item.text for item in items] == ["Is it,\nor not?", "Was it?"]
    assert items[0].correct == ("No, never", '"Hm"')


def test_a_column_that_stands_twice_is_refused(tmp_path):
    with pytest.raises(UserError, match="has two columns 'Question'"):
        _load_csv(tmp_path, HEADER.replace("Type", "Question") + "A,C,Is it?,No,No,Yes,us\n")


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_file_with_other_marks_between_its_columns_is_told(tmp_path, mark):
    with pytest.raises(UserError, match="between its columns; save it with commas"):
        _load_csv(tmp_path, HEADER.replace(",", mark))


def test_a_text_of_any_length_is_read_and_a_sentence_about_it_is_short(tmp_path):
    long = "very long " * 5_000
    (item,) = _load_csv(tmp_path, f"{HEADER}A,{long},{long},No,No,Yes,us\n").items("test")
    assert (item.category, item.text) == (long, long)
    with pytest.raises(UserError, match="has no incorrect answer") as refused:
        _load_csv(tmp_path, f"{HEADER}A,C,{long},No,No,;,us\n")
    assert len(str(refused.value)) < 300
