"""What the stages are built on, made once and copied for each test, and their command lines."""

import shutil
from contextlib import chdir
from pathlib import Path

import pytest
from children import invoke
from fault_stages import TRAINED, command_of
from killing import run_until
from lofit_data import write_truthfulqa


@pytest.fixture(scope="session")
def built(model_dir, tmp_path_factory):
    """A folder with a benchmark, a trained run, and two evaluations to compare."""
    folder = tmp_path_factory.mktemp("built")
    with chdir(folder):
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
    return folder


@pytest.fixture(scope="session")
def killed(built, model_dir, tmp_path_factory):
    """The same folder with an evaluation and a training that were killed in their middle, and both undisturbed."""
    folder = tmp_path_factory.mktemp("killed")
    shutil.copytree(built, folder, dirs_exist_ok=True)
    with chdir(folder):
        for name in ("answers", "lofit"):
            count = run_until(None, command_of(name, model_dir, f"{name}_whole"))
            assert run_until(count * 2 // 3, command_of(name, model_dir, name)) is None
    return folder


@pytest.fixture
def begun(command, killed, tmp_path):
    """Put the killed runs beside what the stages are built on."""
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    return command


@pytest.fixture
def command(built, model_dir, tmp_path, monkeypatch):
    """Return the command line of a stage, by its name and the folder under `runs` that it is to write into."""
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return lambda name, place: command_of(name, model_dir, place)
