"""TruthfulQA from CSV files and from a dataset folder."""

import csv
import os
from pathlib import Path

import pytest
from datasets import Dataset
from lofit_data import write_truthfulqa

from lofit_cli.errors import UserError
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks import load_task

SHARED = Path(os.environ.get("LOFIT_SHARED", "../shared")).resolve() / "data" / "truthfulqa"


def _load(**settings):
    return load_task(TaskConfig("truthfulqa", **settings))


def test_csv_folder_gives_the_splits(tmp_path):
    write_truthfulqa(tmp_path, num_questions={"train": 5, "val": 3, "test": 4})
    task = _load(data_dir=str(tmp_path))
    assert [len(task.items(split)) for split in ("train", "validation", "test")] == [5, 3, 4]
    question = task.items("test")[0]
    assert question.best in question.correct
    assert len(question.incorrect) == 2


def test_a_best_answer_missing_from_the_correct_ones_is_added(tmp_path):
    write_truthfulqa(tmp_path, best="Quite another answer")
    assert _load(data_dir=str(tmp_path)).items("test")[0].correct[0] == "Quite another answer"


def test_a_best_answer_listed_without_its_period_is_not_counted_twice(tmp_path):
    write_truthfulqa(
        tmp_path, best="The test answer number 0 is right.", num_questions={"train": 1, "val": 1, "test": 1}
    )
    question = _load(data_dir=str(tmp_path)).items("test")[0]
    assert question.correct == ("The test answer number 0 is right", "It is number 0")
    assert question.best == question.correct[0]


def test_a_spreadsheets_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    write_truthfulqa(tmp_path, drop_column="Type")
    file = tmp_path / "fold_0_test_seed_42.csv"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert _load(data_dir=str(tmp_path)).items("test")[0].category == "Numbers"


def test_dataset_hash_changes_with_the_content(tmp_path):
    write_truthfulqa(tmp_path)
    before = _load(data_dir=str(tmp_path)).facts()["dataset_hash"]
    write_truthfulqa(tmp_path, best="Quite another answer")
    assert _load(data_dir=str(tmp_path)).facts()["dataset_hash"] != before


def _hub_folder(folder, rows):
    columns = {"Category": "category", "Question": "question", "Best Answer": "best_answer"}
    lists = {"Correct Answers": "correct_answers", "Incorrect Answers": "incorrect_answers"}
    content = [
        {new: row[old] for old, new in columns.items()} | {new: row[old].split("; ") for old, new in lists.items()}
        for row in rows
    ]
    Dataset.from_list(content).to_parquet(folder / "validation.parquet")


def test_the_hubs_columns_are_checked(tmp_path):
    Dataset.from_list([{"question": "?", "category": "x"}]).to_parquet(tmp_path / "validation.parquet")
    with pytest.raises(UserError, match="validation row 1 has no 'correct_answers'"):
        _load(hub_id=str(tmp_path))


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the released TruthfulQA files")
def test_the_hubs_order_gives_the_released_splits_of_fold_0(tmp_path):
    rows = []
    for fold in (0, 1):
        with (SHARED / f"fold_{fold}_test_seed_42.csv").open(newline="") as lines:
            rows.extend(csv.DictReader(lines))
    _hub_folder(tmp_path, rows)
    from_hub, released = _load(hub_id=str(tmp_path)), _load(data_dir=str(SHARED))
    for split in ("train", "validation", "test"):
        assert [q.text for q in from_hub.items(split)] == [q.text for q in released.items(split)]
