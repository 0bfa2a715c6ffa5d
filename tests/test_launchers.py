"""A sweep under a launcher of worker processes that is killed half way is finished by the same command."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PACKAGES = {"joblib": "hydra_joblib_launcher", "submitit_local": "hydra_submitit_launcher"}
SETTINGS = {
    "joblib": ("hydra.launcher.n_jobs=2",),
    # A process for each point, all at once.
    "submitit_local": ("hydra.launcher.timeout_min=60",),
}
SWEEPS = {6: "num_heads=1,2", 15: "num_heads=1,2,3,4,5"}
SECONDS = 1800


def finished():
    """Return when each finished point ended, by its content."""
    found = {}
    for file in Path("runs/train_offsets").rglob("manifest.json"):
        content = json.loads(file.read_text())
        if content["status"] == "finished":
            assert content["content_key"] not in found
            found[content["content_key"]] = content["ended_at"]
    return found


def kill_with_workers(process):
    """Kill a process and all that it has started, wherever they have put themselves."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for folder in Path("/proc").iterdir():
        try:
            is_ours = folder.name.isdecimal() and Path(folder, "cwd").resolve() == Path.cwd()
        except OSError:
            continue
        if is_ours and int(folder.name) != os.getpid():
            os.kill(int(folder.name), signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="finds worker processes in /proc")
@pytest.mark.parametrize(
    ("launcher", "num_points"),
    [
        pytest.param("joblib", 6, marks=pytest.mark.slow),
        pytest.param("joblib", 15, marks=pytest.mark.long),
        pytest.param("submitit_local", 15, marks=pytest.mark.long),
    ],
)
def test_a_sweep_that_is_killed_half_way_is_finished_by_the_same_command(lofit, model_dir, launcher, num_points):
    package = PACKAGES[launcher]
    if not importlib.util.find_spec("hydra_plugins") or not importlib.util.find_spec(f"hydra_plugins.{package}"):
        pytest.skip(f"{package} is not installed")
    Path("heads.json").write_text(json.dumps([[layer, head] for layer in range(3) for head in range(4)]))
    assert lofit("select-heads", "selector=file", "selector.source=heads.json", "hydra.run.dir=heads").exit_code == 0
    data = ("task=truthfulqa", "task.data_dir=data", "model=hub", f"model.id={model_dir}", "head_mask=heads")
    command = [sys.executable, "-m", "lofit_cli", "train-offsets", "-m", *data, "trainer.num_epochs=40", "seed=1,2,3"]
    command += [f"hydra/launcher={launcher}", *SETTINGS[launcher], SWEEPS[num_points]]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + SECONDS
        while len(finished()) < 2:
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.2)
        kill_with_workers(process)
    before = finished()
    assert 2 <= len(before) < num_points
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert ended.returncode == 0, ended.stderr
    after = finished()
    assert len(after) == num_points
    assert before.items() <= after.items()
    listed = json.loads(lofit("runs", "status=finished", "--json").stdout)
    assert len(listed) == num_points
