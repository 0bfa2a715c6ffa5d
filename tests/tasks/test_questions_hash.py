"""Runs are paired by what was measured of their split; what the other splits hold makes no difference."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from lofit_data import write_truthfulqa

from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks import SAMPLES_DIR, load_task
from lofit_cli.tasks.forms.generation import OpenItem


def _copy_sample(name, folder):
    shutil.copytree(SAMPLES_DIR / name, folder)
    return folder


def _rewrite(file, change):
    """Change the records of a file, whether it is a list or one record a line."""
    text = file.read_text()
    if file.suffix == ".json":
        file.write_text(json.dumps(change(json.loads(text))))
    else:
        records = change([json.loads(line) for line in text.splitlines()])
        file.write_text("\n".join(map(json.dumps, records)))


def _hashes(name, folder, **settings):
    task = load_task(TaskConfig(name, data_dir=str(folder) if folder else None, **settings))
    return task.facts()["dataset_hash"], task.questions_hash("test")


@pytest.mark.parametrize(
    ("name", "file", "change"),
    [
        ("boolq", "train.jsonl", lambda rows: rows[1:]),
        ("mquake", "train.jsonl", lambda rows: rows[1:]),
        ("arc_challenge", "train.jsonl", lambda rows: [*rows, rows[0]]),
        # The wrong answers of the test stories are drawn from the relations of all stories.
        ("clutrr", "train.json", lambda rows: [*rows, {**rows[0], "target_text": "cousin"}]),
    ],
)
def test_a_changed_training_file_leaves_the_test_questions_what_they_are(tmp_path, name, file, change):
    folder = _copy_sample(name, tmp_path / "data")
    before = _hashes(name, folder)
    _rewrite(folder / file, change)
    after = _hashes(name, folder)
    assert after[0] != before[0]
    assert after[1] == before[1]


def test_more_training_stories_leave_the_test_stories_what_they_are():
    few, many = (_hashes("kinship", None, num_train=size) for size in (100, 3100))
    assert few[0] != many[0]
    assert few[1] == many[1]


@pytest.mark.parametrize("change", [{"text": "Who?"}, {"accepted": ("x",)}, {"id": "1"}, {"other_options": ("y",)}])
def test_what_is_asked_and_what_counts_as_right_are_measured(change):
    item = OpenItem("0", "c", "What?", " a", ("a",), " b")
    assert replace(item, **change).measured_by() != item.measured_by()
    assert replace(item, wrong=" c").measured_by() == item.measured_by()


def test_an_incorrect_answer_of_a_scored_question_is_measured(tmp_path):
    write_truthfulqa(tmp_path)
    before = _hashes("truthfulqa", tmp_path)[1]
    write_truthfulqa(tmp_path, num_questions={"test": 8}, incorrect="Another one")
    assert _hashes("truthfulqa", tmp_path)[1] != before


def test_runs_with_and_without_the_training_file_are_compared(lofit):
    folder = _copy_sample("siqa", Path("siqa"))
    common = ("evaluate", "task=siqa", "task.data_dir=siqa", "task.max_new_tokens=2", "intervention=none")
    assert lofit(*common, "hydra.run.dir=runs/with").exit_code == 0
    (folder / "train.jsonl").unlink()
    assert lofit(*common, "hydra.run.dir=runs/without").exit_code == 0
    facts = [json.loads(Path(f"runs/{name}/manifest.json").read_text()) for name in ("with", "without")]
    assert facts[0]["dataset_hash"] != facts[1]["dataset_hash"]
    result = lofit("compare", "runs=[runs/with,runs/without]", "group_by=[dataset_hash]")
    assert result.exit_code == 0, result.output


def test_the_latest_run_is_one_of_the_same_training_questions(lofit):
    train = ("train-offsets", "method=icl", "method.num_examples=1", "task.data_dir=data")
    assert lofit(*train, "hydra.run.dir=runs/train_offsets/a").exit_code == 0
    write_truthfulqa(Path("data"), num_questions={"train": 5})
    refused = lofit("evaluate", "intervention=latest")
    assert refused.exit_code == 2
    assert "a differs in dataset_hash only" in refused.stderr.replace("\n", " ")
