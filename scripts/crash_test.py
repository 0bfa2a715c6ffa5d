"""What outlasts a kill, a second process and a power cut: a small run that writes every kind of file, stopped anywhere.

python scripts/crash_test.py                  kill -9 at random moments, then a rerun; two processes at once
python scripts/crash_test.py power            cuts the power instead (root on Linux: it mounts a disk image)

The power cut is a copy of the disk's image, taken the moment the run ends: what is not on the disk is not in it.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
import torch
import typer
from safetensors.torch import load_file

from lofit_cli.artifacts.files import write_file
from lofit_cli.artifacts.leftovers import LOCK
from lofit_cli.artifacts.predictions import GeneratedAnswer, write_predictions
from lofit_cli.artifacts.run_dir import start_run
from lofit_cli.artifacts.seen_items import add_seen
from lofit_cli.artifacts.tensors import write_tensors
from lofit_cli.errors import UserError
from lofit_cli.schema.stages import CompareConfig

NUM_LINES = 200
FILES = {"manifest.json", "seen_items.json", "history.jsonl", "x.safetensors", "predictions.parquet", "table.md", LOCK}
MKFS = ("mkfs.ext4", "-q")
SIZE_MB = 64
app = typer.Typer()


def small_run(folder: Path, mark: int) -> None:
    """Write a run whose every file holds `mark`."""
    with start_run(folder, "compare", CompareConfig(seed=mark)) as run:
        add_seen(folder, [str(mark)])
        for step in range(NUM_LINES):
            run.append_line("history.jsonl", {"step": step, "mark": mark})
        write_tensors(folder / "x.safetensors", "x", {"x": torch.full((1000,), float(mark))}, {})
        answers = [GeneratedAnswer(str(mark), "", "?", {"em": 1.0}, ["a"], "a") for _ in range(100)]
        write_predictions(folder, answers)
        write_file(folder / "table.md", lambda path: path.write_text(str(mark)))


def is_finished(folder: Path) -> bool:
    file = folder / "manifest.json"
    return file.exists() and json.loads(file.read_text())["status"] == "finished"


def require_whole(folder: Path, mark: int) -> None:
    """Refuse a finished run that lacks a file, or has one of another run or a part of one."""
    assert {entry.name for entry in folder.iterdir()} == FILES, list(folder.iterdir())
    assert json.loads((folder / "manifest.json").read_text())["config"]["seed"] == mark
    assert json.loads((folder / "seen_items.json").read_text()) == [str(mark)]
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [(line["step"], line["mark"]) for line in lines] == [(step, mark) for step in range(NUM_LINES)]
    assert load_file(folder / "x.safetensors")["x"].tolist() == [mark] * 1000
    assert set(pq.read_table(folder / "predictions.parquet")["question_id"].to_pylist()) == {str(mark)}
    assert (folder / "table.md").read_text() == str(mark)


def start(folder: Path, mark: int) -> int:
    """Run in a process of its own and return its id; it ends with 0, or with 2 where the directory is taken."""
    if pid := os.fork():
        return pid
    try:
        small_run(folder, mark)
    except UserError:
        os._exit(2)
    os._exit(0)


def wait_for(pid: int) -> int:
    """Return a process's exit code, negative where a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def length_of_a_run(folder: Path) -> float:
    """Return the seconds that a run takes in a process whose parent has loaded what it needs."""
    small_run(folder / "warm", 0)
    begin = time.perf_counter()
    for name in ("first", "second", "third"):
        assert wait_for(start(folder / name, 0)) == 0
    return (time.perf_counter() - begin) / 3


@app.command()
def kill(trials: int = 200, seed: int = 0) -> None:
    """Kill a run at a random moment and run it again; every third time two processes want the same directory."""
    rng = random.Random(seed)
    counts = dict.fromkeys(("killed", "finished", "moved aside", "refused"), 0)
    with tempfile.TemporaryDirectory() as temporary:
        length = length_of_a_run(Path(temporary))
        for trial in range(1, trials + 1):
            folder = Path(temporary) / str(trial)
            pids = [start(folder, trial) for _ in range(2 if trial % 3 == 0 else 1)]
            time.sleep(rng.uniform(0, 1.2 * length))
            for pid in pids[:1]:
                os.kill(pid, signal.SIGKILL)
            codes = [wait_for(pid) for pid in pids]
            assert set(codes) <= {0, 2, -signal.SIGKILL}, codes
            counts["killed"] += codes[0] == -signal.SIGKILL
            counts["refused"] += codes.count(2)
            if is_finished(folder):
                counts["finished"] += 1
                require_whole(folder, trial)
            else:
                assert wait_for(start(folder, trial + 1000)) == 0
                require_whole(folder, trial + 1000)
            counts["moved aside"] += len(list(folder.parent.glob(f"{trial}.*")))
    typer.echo(f"{trials} trials, {counts}: every finished run is whole and of one process")


@app.command()
def power(trials: int = 10) -> None:
    """Cut the power the moment a run has ended, and at a random moment of one; then start from what is on the disk."""
    counts = dict.fromkeys(("whole", "rerun"), 0)
    with tempfile.TemporaryDirectory() as temporary:
        length = length_of_a_run(Path(temporary))
    for trial in range(1, trials + 1):
        with tempfile.TemporaryDirectory() as temporary:
            image, copy, mount = (Path(temporary) / name for name in ("disk", "copy", "mount"))
            image.touch()
            os.truncate(image, SIZE_MB * 2**20)
            subprocess.run([*MKFS, image], check=True)
            ends = _run_and_cut(image, copy, mount, trial, length)
            with _Mounted(copy, mount):
                folder = mount / "runs" / "x"
                if ends:
                    assert is_finished(folder), list(folder.iterdir())
                if folder.exists() and is_finished(folder):
                    counts["whole"] += 1
                    require_whole(folder, trial)
                else:
                    counts["rerun"] += 1
                    assert wait_for(start(folder, trial + 1000)) == 0
                    require_whole(folder, trial + 1000)
    typer.echo(f"{trials} power cuts, {counts}: what ended with exit code 0 was on the disk, the rest could be rerun")


def _run_and_cut(image: Path, copy: Path, mount: Path, trial: int, length: float) -> bool:
    """Copy the image when a run on it has ended, or in its middle; return whether it had ended."""
    with _Mounted(image, mount):
        pid = start(mount / "runs" / "x", trial)
        if trial % 2:
            assert wait_for(pid) == 0
            shutil.copyfile(image, copy)
            return True
        time.sleep(random.Random(trial).uniform(0, length))
        shutil.copyfile(image, copy)
        wait_for(pid)
        return False


class _Mounted:
    """An image mounted inside a `with` block."""

    def __init__(self, image: Path, folder: Path) -> None:
        self.image, self.folder = image, folder

    def __enter__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        subprocess.run(["mount", "-o", "loop", self.image, self.folder], check=True)

    def __exit__(self, *error: object) -> None:
        subprocess.run(["umount", self.folder], check=True)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.argv.append("kill")
    app()
