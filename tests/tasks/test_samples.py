"""The bundled samples: small, read by the benchmarks' own loaders, each answer of theirs counting as it should."""

import pytest

from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks import FOLDS, TASKS, load_task
from lofit_cli.tasks.forms.generation import GenerationTask
from lofit_cli.tasks.forms.multiple_choice import MultipleChoiceTask

WITH_SAMPLES = sorted(set(TASKS) - {"hub"})
TEST_ONLY = ("bbq", "mmlu", "nq", "triviaqa")


def _samples():
    return [(name, fold) for name in WITH_SAMPLES for fold in range(FOLDS.get(name, 1))]


@pytest.mark.parametrize(("name", "fold"), _samples())
def test_every_task_has_a_sample_with_splits_apart(name, fold):
    # As a tokenizer would that makes a token of each letter.
    task = load_task(TaskConfig(name, fold=fold, data_dir="sample")).cut(lambda text: range(1, len(text) + 1))
    splits = ("test",) if name in (*TEST_ONLY, "perplexity") else ("train", "validation", "test")
    assert isinstance(task, MultipleChoiceTask) == (name in TEST_ONLY)
    items = [item for split in splits for item in task.items(split)]
    assert len({item.id for item in items}) == len({item.text for item in items}) == len(items)
    assert len(task.items("test")) >= 12


@pytest.mark.parametrize("name", WITH_SAMPLES)
def test_right_answers_of_a_sample_count_as_right_and_wrong_ones_as_wrong(name):
    task = load_task(TaskConfig(name, data_dir="sample"))
    if isinstance(task, GenerationTask):
        for item in (item for items in task.splits.values() for item in items):
            assert task.is_right(item.answer.strip(), item), item
            assert not task.is_right(item.wrong.strip(), item), item


def test_right_answers_are_spread_over_the_letters():
    for name, count in (("arc_challenge", 4), ("siqa", 3)):
        items = [i for items in load_task(TaskConfig(name, data_dir="sample")).splits.values() for i in items]
        assert len({item.answer for item in items}) == count
    assert {item.right for item in load_task(TaskConfig("mmlu", data_dir="sample")).items("test")} == {0, 1, 2, 3}


def test_a_sample_gives_all_its_training_items_where_more_are_asked_for(capsys):
    task = load_task(TaskConfig("clutrr", data_dir="sample", num_train=300))
    assert len(task.items("train")) == 12
    assert "taking all 12 training items instead of task.num_train=300" in capsys.readouterr().err
    assert len(load_task(TaskConfig("clutrr", data_dir="sample", num_train=5)).items("train")) == 5


def test_a_folder_named_sample_is_named_with_its_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sample").mkdir()
    with pytest.raises(Exception, match=r"task.data_dir=sample has no file SVAMP.json"):
        load_task(TaskConfig("svamp", data_dir="./sample"))
