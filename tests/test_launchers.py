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

LAUNCHERS = {
    "joblib": ("hydra_joblib_launcher", ("hydra.launcher.n_jobs=2", "num_heads=1,2")),
    # A process for each point, all at once.
    "submitit_local": ("hydra_submitit_launcher", ("hydra.launcher.timeout_min=20", "num_heads=1,2")),
}
NUM_POINTS = 6
SECONDS = 900


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
    "launcher", [pytest.param("joblib", marks=pytest.mark.slow), pytest.param("submitit_local", marks=pytest.mark.long)]
)
def test_a_sweep_that_is_killed_half_way_is_finished_by_the_same_command(lofit, model_dir, launcher):
    package, settings = LAUNCHERS[launcher]
    if not importlib.util.find_spec("hydra_plugins") or not importlib.util.find_spec(f"hydra_plugins.{package}"):
        pytest.skip(f"{package} is not installed")
    Path("heads.json").write_text(json.dumps([[layer, head] for layer in range(3) for head in range(4)]))
    assert lofit("select-heads", "selector=file", "selector.source=heads.json", "hydra.run.dir=heads").exit_code == 0
    data = ("task=truthfulqa", "task.data_dir=data", "model=hub", f"model.id={model_dir}", "head_mask=heads")
    command = [sys.executable, "-m", "lofit_cli", "train-offsets", "-m", *data, "trainer.num_epochs=40", "seed=1,2,3"]
    command += [f"hydra/launcher={launcher}", *settings]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + SECONDS
        while len(finished()) < 2:
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.2)
        kill_with_workers(process)
    before = finished()
    assert 2 <= len(before) < NUM_POINTS
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert ended.returncode == 0, ended.stderr
    after = finished()
    assert len(after) == NUM_POINTS
    assert before.items() <= after.items()
    listed = json.loads(lofit("runs", "status=finished", "--json").stdout)
    assert len(listed) == NUM_POINTS
