"""A tiny model, a small benchmark, and the command line run in this process."""

import os
from pathlib import Path

import pytest
import torch
from lofit_data import write_truthfulqa
from tiny_models import build_model, build_tokenizer
from typer.testing import CliRunner

from lofit_cli.cli import app

pytest.register_assert_rewrite("children", "fault_stages", "loading", "refusals", "reproducing", "stage_runs")
# Tiny models are slower on several threads than on one, most of all where others use the cores as well.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"
# Each test computes what it looks at, and leaves the user's own cache alone.
os.environ["LOFIT_CACHE_GB"] = "0"


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory):
    """A folder with a tiny llama (3 layers of 4 heads of 8) and its tokenizer."""
    folder = tmp_path_factory.mktemp("model")
    build_model("llama").save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """An empty current folder with a small benchmark in data/."""
    monkeypatch.chdir(tmp_path)
    data = Path("data")
    data.mkdir()
    write_truthfulqa(data)
    return tmp_path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of the test's own, in which what is computed is kept; return the folder of that."""
    monkeypatch.setenv("LOFIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LOFIT_CACHE_GB", "5")
    return tmp_path / "cache" / "computed"


@pytest.fixture
def lofit(model_dir, workplace):
    """Run `lofit STAGE ...` on the tiny model and benchmark; return the finished process's result.

    `lofit.alone` runs what it is given; `lofit.typed` is what stands in standard input.
    """

    def run(stage, *overrides):
        settings = [
            "model=hub",
            f"model.id={model_dir}",
            "model.dtype=float32",
            "task=truthfulqa",
            "task.data_dir=data",
        ]
        return alone(
            stage, *(settings if stage not in ("cache", "compare", "describe", "export", "runs") else []), *overrides
        )

    def alone(*words):
        return CliRunner().invoke(app, words, input=run.typed)

    run.alone, run.typed = alone, None
    return run
