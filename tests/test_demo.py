"""The demo runs the whole job, says what its numbers say, and runs nothing twice."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "scripts" / "demo.py"


def run(model_dir, folder):
    command = [
        sys.executable,
        str(SCRIPT),
        "model=hub",
        f"model.id={model_dir}",
        "model.dtype=float32",
        "task.num_train=20",
    ]
    environment = {**os.environ, "OUT": "out"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_demo_ends_in_a_sentence_and_runs_nothing_twice(model_dir, tmp_path):
    first = run(model_dir, tmp_path)
    assert first.returncode == 0, first.stderr
    said = first.stdout.splitlines()[-1]
    assert said.startswith("EM on the test questions: ")
    assert said.count("%") == said.count("p = ") + 1 == 3

    again = run(model_dir, tmp_path)
    assert again.stderr.count("already finished") == 7
    assert again.stdout.splitlines()[-1] == said
