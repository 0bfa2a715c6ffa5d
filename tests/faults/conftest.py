"""What the stages are built on, made once and copied for each test, and their command lines."""

import os
import shutil
from pathlib import Path

import pytest
from children import invoke
from fault_stages import TRAINED, command_of
from lofit_data import write_truthfulqa


@pytest.fixture(scope="session")
def built(model_dir, tmp_path_factory):
    """A folder with a benchmark, a trained run, and two evaluations to compare."""
    folder, before = tmp_path_factory.mktemp("built"), Path.cwd()
    os.chdir(folder)
    try:
        Path("data").mkdir()
        write_truthfulqa(Path("data"))
        Path("heads.json").write_text("[[0, 1], [2, 3]]")
        model = ("model=hub", f"model.id={model_dir}", "model.dtype=float32", "task=truthfulqa", "task.data_dir=data")
        made = ("head_mask=heads.json", *TRAINED, "trainer.learning_rate=1.0", "hydra.run.dir=runs/made")
        for command in (
            ("train-offsets", *model, *made),
            ("evaluate", *model, "intervention=none", "hydra.run.dir=runs/a"),
            ("evaluate", *model, "intervention=runs/made", "hydra.run.dir=runs/b"),
        ):
            assert invoke(command)[0] == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def command(built, model_dir, tmp_path, monkeypatch):
    """Return the command line of a stage, by its name and the folder under `runs` that it is to write into."""
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return lambda name, place: command_of(name, model_dir, place)
