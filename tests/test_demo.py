"""The demo runs the whole job, says what its numbers say, and runs nothing twice."""

import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "demo.py"


@pytest.fixture
def demo(model_dir, tmp_path, monkeypatch, capfd):
    """Run the script in this process: what a model needs takes long to import. Return what it says."""
    settings = ("model=hub", f"model.id={model_dir}", "model.dtype=float32", "task.num_train=20", "task.num_test=60")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OUT", "out")
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *settings])

    def run():
        runpy.run_path(str(SCRIPT), run_name="__main__")
        return capfd.readouterr()

    return run


def test_the_demo_ends_in_a_sentence_and_runs_nothing_twice(demo):
    said = demo().out.splitlines()[-1]
    assert said.startswith("EM on the test questions: ")
    assert said.count("%") == said.count("p = ") + 1 == 3

    again = demo()
    assert again.err.count("already finished") == 7
    assert again.out.splitlines()[-1] == said
