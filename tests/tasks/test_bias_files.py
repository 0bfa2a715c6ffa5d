"""CrowS-Pairs and StereoSet as files and from the Hub: what is read, how it is split, and what is refused."""

import csv
import json
import re
from pathlib import Path

import pytest
from datasets import Dataset

from lofit_cli.errors import UserError
from lofit_cli.schema.sources import ModelConfig, TaskConfig
from lofit_cli.schema.tasks import SharedOutConfig
from lofit_cli.tasks import load_task
from lofit_cli.tasks.crows_pairs import BIAS_TYPES

ALL_TEST = {"train": 0.0, "validation": 0.0, "test": 1.0}
COLUMNS = ["", "sent_more", "sent_less", "stereo_antistereo", "bias_type", "annotations", "anon_writer"]
SENTENCES = [
    {
        "id": "a",
        "sentence": "He shouts.",
        "gold_label": "stereotype",
        "labels": [{"label": "related", "human_id": "h"}],
    },
    {"id": "b", "sentence": "He is calm. ", "gold_label": "anti-stereotype", "labels": []},
    {"id": "c", "sentence": "Ice floats.", "gold_label": "unrelated", "labels": []},
]
SET = {"id": "s1", "target": "chef", "bias_type": "profession", "context": "A chef is here", "sentences": SENTENCES}


def write_pairs(folder, *rows, columns=COLUMNS):
    with (folder / "crows_pairs_anonymized.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return str(folder)


def pair(i, more="Old people {} sleep.", less="Young people {} sleep.", kind="age"):
    return [i, more.format(i), less.format(i), "stereo", kind, "[['age']]", "a0"]


def load_whole(name, **where):
    return load_task(SharedOutConfig(name, shares=ALL_TEST, **where)).items("test")


def test_a_pair_is_read_with_its_kind_and_its_id(tmp_path):
    rows = [pair(0), pair(1, 'He said, "no"', ' She said, "no" ', "gender")]
    first, second = load_whole("crows_pairs", data_dir=write_pairs(tmp_path, *rows))
    assert (first.id, first.category) == ("crows-pairs-0", "age")
    assert (first.rejected, first.chosen) == ("Old people 0 sleep.", "Young people 0 sleep.")
    assert (second.category, second.chosen, second.shown) == (
        "gender",
        'She said, "no"',
        'He said, "no" / She said, "no"',
    )


def test_the_hubs_classes_are_read_by_their_number(tmp_path):
    rows = [{"id": i, "sent_more": f"A{i}", "sent_less": f"B{i}", "bias_type": i} for i in range(len(BIAS_TYPES))]
    Dataset.from_list(rows).to_parquet(tmp_path / "test.parquet")
    assert [item.category for item in load_whole("crows_pairs", hub_id=str(tmp_path))] == list(BIAS_TYPES)


def test_one_set_is_split_by_its_text_always_alike(tmp_path, capsys):
    rows = [pair(i) for i in range(100)]
    found = load_task(TaskConfig("crows_pairs", data_dir=write_pairs(tmp_path, *rows))).splits
    assert "100 rows are split by their text" in capsys.readouterr().err
    assert {split: len(items) for split, items in found.items()} == pytest.approx(
        {"train": 60, "validation": 10, "test": 30}, abs=15
    )
    # Adding pairs, or turning one round, moves none.
    turned = [[i, less, more, *rest] for i, more, less, *rest in [pair(i) for i in range(120)]]
    again = load_task(TaskConfig("crows_pairs", data_dir=write_pairs(tmp_path, *turned))).splits
    for split, items in found.items():
        assert {item.fingerprint for item in items} <= {item.fingerprint for item in again[split]}


def test_shares_put_all_pairs_into_one_split(tmp_path):
    folder = write_pairs(tmp_path, *[pair(i) for i in range(20)])
    assert len(load_whole("crows_pairs", data_dir=folder)) == 20
    with pytest.raises(UserError, match=r"add up to 0.5; make them 1"):
        SharedOutConfig("crows_pairs", shares={"test": 0.5})


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (pair(1, kind="hair"), "its field 'bias_type' holds \"hair\"; it must be one of race-color, socioeconomic"),
        (pair(1, more=" "), "its field 'sent_more' is empty"),
        (pair(1, less="old people 1  sleep."), "it must be another sentence than sent_more"),
        (pair(1)[:5], "this row has 5 fields and the first line 7"),
    ],
)
def test_a_pair_that_cannot_be_used_is_named(tmp_path, row, words):
    with pytest.raises(UserError, match=f"line 3.*{re.escape(words)}"):
        load_task(TaskConfig("crows_pairs", data_dir=write_pairs(tmp_path, pair(0), row)))


def test_a_file_without_a_column_or_without_pairs_is_refused(tmp_path):
    folder = write_pairs(tmp_path, columns=[*COLUMNS[:4], "type", *COLUMNS[5:]])
    with pytest.raises(UserError, match="has no column 'bias_type'; the task needs sent_more, sent_less, bias_type"):
        load_task(TaskConfig("crows_pairs", data_dir=folder))
    with pytest.raises(UserError, match=r"has no questions in its test split, to which task.shares gives 0.3 of all"):
        load_task(TaskConfig("crows_pairs", data_dir=write_pairs(tmp_path))).items("test")
    with pytest.raises(UserError, match=r"has no file crows_pairs_anonymized.csv"):
        load_task(TaskConfig("crows_pairs", data_dir=str(Path(folder).parent)))


@pytest.mark.parametrize("name", ["crows_pairs", "perplexity"])
def test_whole_texts_are_refused_for_a_chat_template(name):
    chat = ModelConfig("m", chat_template=True)
    with pytest.raises(UserError, match=f"model.chat_template=true is for .* task '{name}' scores whole texts"):
        load_task(TaskConfig(name, data_dir="sample"), chat)
    assert load_task(TaskConfig("stereoset", data_dir="sample"), chat).items("test")


def write_sets(folder, *sets):
    (folder / "dev.json").write_text(json.dumps({"version": "1", "data": {"intersentence": sets, "intrasentence": []}}))
    return str(folder)


def test_a_set_of_continuations_is_read_by_its_gold_labels(tmp_path):
    (item,) = load_whole("stereoset", data_dir=write_sets(tmp_path, SET))
    assert (item.id, item.category, item.text) == ("s1", "profession", "A chef is here")
    assert (item.stereotype, item.anti_stereotype, item.unrelated) == (" He shouts.", " He is calm.", " Ice floats.")


@pytest.mark.parametrize("numbered", [True, False])
def test_the_hub_lists_sentences_field_by_field(tmp_path, numbered):
    labels = [1, 0, 2] if numbered else [sentence["gold_label"] for sentence in SENTENCES]
    said = {"sentence": [sentence["sentence"] for sentence in SENTENCES], "gold_label": labels, "id": ["a", "b", "c"]}
    Dataset.from_list([{**SET, "sentences": said}]).to_parquet(tmp_path / "validation.parquet")
    (found,) = load_whole("stereoset", hub_id=str(tmp_path))
    folder = tmp_path / "local"
    folder.mkdir()
    (local,) = load_whole("stereoset", data_dir=write_sets(folder, SET))
    assert found == local


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sentences": SENTENCES[:2]}, "its sentences are stereotype, anti-stereotype; it must have one of each of"),
        ({"sentences": [SENTENCES[0], *SENTENCES[:2]]}, "it must have one of each of anti-stereotype, stereotype, unr"),
        ({"sentences": [*SENTENCES[:2], {**SENTENCES[2], "gold_label": "related"}]}, 'holds "related"; it must be one'),
        ({"sentences": [*SENTENCES[:2], {**SENTENCES[2], "gold_label": 3}]}, "'gold_label' holds 3; it must be one of"),
        ({"sentences": [*SENTENCES[:2], {**SENTENCES[2], "gold_label": True}]}, "'gold_label' holds true; it must be"),
        ({"sentences": [*SENTENCES[:2], {**SENTENCES[2], "gold_label": ["unrelated"]}]}, "it must be one of anti-"),
        ({"sentences": [*SENTENCES[:2], {"gold_label": "unrelated"}]}, "sentences 3 has no 'sentence'"),
        ({"sentences": {"sentence": ["a", "b", "c"], "gold_label": [0, 1]}}, "a list of 3 labels, one for each sent"),
        ({"sentences": "He shouts."}, "it must be a list of objects"),
        ({"context": ""}, "its field 'context' is empty"),
        ({"bias_type": 3}, "its field 'bias_type' holds 3; it must be some text"),
    ],
)
def test_a_set_that_cannot_be_used_is_named(tmp_path, change, words):
    with pytest.raises(UserError, match=re.escape(words)) as refused:
        load_task(TaskConfig("stereoset", data_dir=write_sets(tmp_path, {**SET, **change})))
    assert "dev.json, data, intersentence 1" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "is not a JSON object"),
        ("{", "could not be read"),
        ('{"data": []}', "its field 'data' holds []"),
        ('{"data": {"intrasentence": []}}', "has no intersentence items, which task 'stereoset' measures; take the"),
        ('{"data": {"intersentence": []}}', "has no intersentence items"),
        ('{"data": {"intersentence": 1}}', "its field 'intersentence' holds 1; it must be a list of objects"),
    ],
)
def test_another_file_is_refused(tmp_path, text, words):
    (tmp_path / "dev.json").write_text(text)
    with pytest.raises(UserError, match=re.escape(words)):
        load_task(TaskConfig("stereoset", data_dir=str(tmp_path)))
