"""Finished work is known by its content, and a run that was cut off goes on wherever the same command finds it."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from killing import run_until
from lofit_data import write_truthfulqa
from safetensors.torch import load_file
from stage_runs import FAST, lines, manifest, ok

from lofit_cli.artifacts.reuse import content_at
from lofit_cli.errors import RunError
from lofit_cli.training.descent import Descent

EVALUATE = ("evaluate", "intervention=none")


def folders(stage="evaluate"):
    return sorted(path for path in Path("runs", stage).iterdir() if path.is_dir())


def test_a_sweep_that_is_run_again_runs_nothing_again(lofit):
    sweep = ("select-heads", "-m", "selector=random", "seed=1,2,3")
    ok(lofit(*sweep))
    before = {folder: manifest(folder) for folder in folders("select_heads")}
    again = ok(lofit(*sweep))
    assert again.stderr.count("already finished: runs/select_heads/") == 3
    assert folders("select_heads") == list(before)
    asked = {folder: manifest(folder) for folder in before}
    assert all(found.pop("reused_at") for found in asked.values())
    for found in (*before.values(), *asked.values()):
        del found["checksum"]
    assert asked == before
    more = ok(lofit(*sweep[:3], "seed=3,4"))
    assert (more.stderr.count("already finished"), len(folders("select_heads"))) == (1, 4)


def test_force_makes_a_run_again(lofit):
    for _ in range(2):
        ok(lofit(*EVALUATE, "force=true"))
    assert len(folders()) == 2


def test_a_reused_evaluation_shows_what_it_measured(lofit):
    first, second = (ok(lofit(*EVALUATE)).stdout for _ in range(2))
    assert "MC1" in first
    assert first == second


def test_other_data_weights_or_code_are_other_runs(lofit, model_dir, monkeypatch):
    ok(lofit(*EVALUATE, "hydra.run.dir=runs/a"))
    shutil.copytree(model_dir, "model")
    ok(lofit(*EVALUATE, "model.id=./model", "hydra.run.dir=runs/b"))
    assert manifest("runs/a")["content_key"] != manifest("runs/b")["content_key"]
    with monkeypatch.context() as patch:
        patch.setattr("lofit_cli.artifacts.reuse.describe_code", lambda: {"lofit": "another"})
        refused = lofit(*EVALUATE, "hydra.run.dir=runs/a")
    assert (refused.exit_code, "made of other data, weights or code" in refused.stderr) == (2, True)
    write_truthfulqa(Path("data"), incorrect="Something else")
    before = Path("runs/a/manifest.json").read_bytes()
    refused = lofit(*EVALUATE, "hydra.run.dir=runs/a")
    assert (refused.exit_code, "made of other data, weights or code" in refused.stderr) == (2, True)
    assert Path("runs/a/manifest.json").read_bytes() == before


def test_what_a_run_is_built_on_counts_by_its_content(lofit):
    Path("heads.json").write_text("[[0, 1]]")
    shutil.copy("heads.json", "same.json")
    Path("other.json").write_text("[[2, 1]]")
    for name in ("heads", "same", "other"):
        ok(lofit("train-offsets", *FAST, f"head_mask={name}.json"))
    assert len(folders("train_offsets")) == 2
    first, second = folders("train_offsets")
    ok(lofit("evaluate", f"intervention={first}"))
    shutil.copytree(first, "moved")
    assert "already finished" in ok(lofit("evaluate", "intervention=moved")).stderr
    assert "already finished" not in ok(lofit("evaluate", f"intervention={second}")).stderr


@pytest.mark.parametrize("name", ["model.safetensors", "model.bin", "predictions.parquet"])
def test_a_folder_that_a_setting_names_counts_by_its_content(name, tmp_path):
    found = []
    for content in (b"1", b"2"):
        (tmp_path / name).write_bytes(content)
        found.append(content_at(str(tmp_path)))
    assert found[0] != found[1]


def test_a_file_that_a_setting_names_counts_by_its_content(lofit):
    train = ("train-offsets", "method=file", "method.source=vector.npy", "method.layer=1")
    for value in (1, 1, 2):
        np.save("vector.npy", np.full(32, value, dtype=np.float32))
        ok(lofit(*train))
    assert len(folders("train_offsets")) == 2
    Path("heads.json").write_text("[[0, 1]]")
    ok(lofit("select-heads", "selector=file", "selector.source=heads.json", "num_heads=1"))
    Path("heads.json").write_text("[[2, 1]]")
    ok(lofit("select-heads", "selector=file", "selector.source=heads.json", "num_heads=1"))
    assert len(folders("select_heads")) == 2


def test_a_finished_run_is_put_where_its_user_wants_it(lofit):
    ok(lofit(*EVALUATE, "hydra.run.dir=runs/evaluate/a"))
    assert "already finished: runs/evaluate/a" in ok(lofit(*EVALUATE, "hydra.run.dir=runs/evaluate/b")).stderr
    assert manifest("runs/evaluate/b")["copied_from"].endswith("runs/evaluate/a")
    for name in ("predictions.parquet", "metrics.json"):
        assert Path("runs/evaluate/a", name).read_bytes() == Path("runs/evaluate/b", name).read_bytes()
    assert "MC1" in ok(lofit("compare")).stdout


def test_latest_is_the_run_that_was_asked_for_last(lofit):
    for seed in (1, 2, 1):
        ok(lofit("select-heads", "selector=random", f"seed={seed}", "task.num_train=4"))
        (found,) = (f for f in folders("select_heads") if manifest(f)["seed"] == seed)
    said = ok(lofit("train-offsets", *FAST, "seed=1", "task.num_train=4")).stderr
    assert f"head_mask=latest: taking {found}" in said


def test_a_run_without_a_named_directory_goes_on_in_another_one(lofit, model_dir):
    data = ("task=truthfulqa", "task.data_dir=data", "model=hub", f"model.id={model_dir}", "model.dtype=float32")
    command = ["train-offsets", *data, "method=bitfit", "trainer.num_epochs=3", "trainer.checkpoint_every=1"]
    assert run_until(110, command) is None
    (killed,) = folders("train_offsets")
    assert list((killed / "checkpoints").iterdir())
    said = ok(lofit(*command)).stderr
    assert f"going on from where {killed} stopped" in said
    (_, finished) = folders("train_offsets")
    assert manifest(finished)["continued"] is True
    assert [line["step"] for line in lines(finished / "history.jsonl")] == list(range(1, 4))
    assert not (killed / "checkpoints").exists()


@pytest.fixture
def interrupted(lofit, monkeypatch):
    """A run that is interrupted after two of its steps, and what the same run gives without."""
    command = ("train-offsets", "method=bitfit", "trainer.num_epochs=4", "trainer.batch_size=4")
    ok(lofit(*command, "runs_dir=whole", "hydra.run.dir=whole/x"))
    with monkeypatch.context() as patch:
        patch.setattr(Descent, "find_gradient", stop_after(2, KeyboardInterrupt()))
        assert lofit(*command, "hydra.run.dir=runs/x").exit_code == 130
    return command


def stop_after(num_steps, error):
    """Return a step's gradient that fails once so many have been taken."""
    find_gradient, calls = Descent.find_gradient, []

    def failing(self, *arguments):
        calls.append(1)
        if len(calls) > num_steps:
            raise error
        return find_gradient(self, *arguments)

    return failing


@pytest.mark.parametrize("way", ["the same command", "resume"])
def test_an_interrupted_run_goes_on_to_the_same_bits(lofit, interrupted, way):
    assert manifest("runs/x")["status"] == "interrupted"
    if way == "resume":
        ok(lofit.alone("train-offsets", "resume=runs/x"))
    else:
        ok(lofit(*interrupted, "hydra.run.dir=runs/x"))
    assert manifest("runs/x")["status"] == "finished"
    assert Path("runs/x/intervention.safetensors").read_bytes() == Path("whole/x/intervention.safetensors").read_bytes()
    assert load_file("runs/x/intervention.safetensors")


def test_other_settings_begin_anew_and_leave_what_was_there_aside(lofit, interrupted):
    ok(lofit(*interrupted, "trainer.num_epochs=1", "hydra.run.dir=runs/x"))
    assert manifest("runs/x")["continued"] is False
    (aside,) = Path("runs").glob("x.interrupted-*")
    assert (aside / "checkpoints").is_dir()


def test_checkpoints_that_are_damaged_are_passed_over(lofit, interrupted):
    for file in Path("runs/x/checkpoints").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    ok(lofit(*interrupted, "hydra.run.dir=runs/x"))
    assert Path("runs/x/intervention.safetensors").read_bytes() == Path("whole/x/intervention.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("resume=runs/x", "seed=1"), "goes on with the run's own settings; leave out -m"),
        (("resume=nowhere",), "resume=nowhere holds no run that was begun; name the directory of a run of evaluate"),
        (("resume=runs/x",), "resume=runs/x holds a run of train_offsets; name the directory of a run of evaluate"),
    ],
)
def test_what_cannot_go_on_is_refused(lofit, interrupted, settings, words):
    refused = lofit.alone("evaluate", *settings)
    assert (refused.exit_code, words in " ".join(refused.stderr.split())) == (2, True), refused.stderr


def test_a_sweep_ends_with_what_failed_and_finishes_by_the_same_command(lofit, monkeypatch):
    sweep = ("train-offsets", "-m", "method=bitfit", "seed=1,2", "trainer.num_epochs=1")
    with monkeypatch.context() as patch:
        patch.setattr(Descent, "find_gradient", stop_after(1, RunError("the machine is tired")))
        failed = lofit(*sweep)
    said = " ".join(failed.stderr.split())
    assert failed.exit_code == 1
    assert re.search(
        r"1 of 2 points failed \(runs/train_offsets/\S+_1\); the first of them: the machine is tired", said
    )
    assert said.endswith("the same command runs only what has not finished")
    again = ok(lofit(*sweep)).stderr
    assert (again.count("already finished"), again.count("run directory")) == (1, 1)
