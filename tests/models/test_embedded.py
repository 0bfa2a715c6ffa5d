"""The embedded model is fetched once, by one process, and is there whole or not at all."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lofit_cli.models import embedded

FETCH = """
import sys, time
from pathlib import Path
from lofit_cli.models import embedded
def make(model, folder):
    with open("fetches", "a") as lines:
        lines.write("one\\n")
    for name in embedded.WRITTEN:
        (folder / name).write_text("whole")
        if sys.argv[1:] == ["slowly"]:
            print("under way", flush=True)
            time.sleep(600)
embedded._make = make
print(embedded.embedded_model_dir("smollm2"), flush=True)
"""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOFIT_CACHE", "cache")
    return Path("cache")


def start(*arguments):
    command = [sys.executable, "-c", FETCH, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def fill(model, folder):
    for name in embedded.WRITTEN:
        (folder / name).write_text("new")


def test_of_two_processes_one_fetches_and_the_other_waits(cache):
    processes = [start() for _ in range(3)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert {process.returncode for process in processes} == {0}, outputs
    assert len({output for output, _ in outputs}) == 1
    assert Path("fetches").read_text() == "one\n"


def test_what_a_killed_process_left_is_removed_and_fetched_anew(cache):
    with start("slowly") as killed:
        assert killed.stdout.readline() == "under way\n"
        waiting = start()
        assert "another process is fetching" in waiting.stderr.readline()
        killed.kill()
    folder = Path(waiting.communicate(timeout=60)[0].strip())
    assert embedded._is_whole(folder)
    assert sorted(entry.name for entry in cache.iterdir()) == [f".{folder.name}.lock", folder.name]


@pytest.mark.parametrize("damage", ["", None])
def test_an_entry_that_was_cut_off_is_fetched_anew(cache, monkeypatch, damage):
    monkeypatch.setattr(embedded, "_make", fill)
    folder = embedded.embedded_model_dir("smollm2")
    file = folder / "model.safetensors"
    file.unlink()
    if damage is not None:
        file.write_text(damage)
    assert (embedded.embedded_model_dir("smollm2") / "model.safetensors").read_text() == "new"


def test_what_is_there_is_taken_without_a_lock(cache, monkeypatch):
    monkeypatch.setattr(embedded, "_make", fill)
    folder = embedded.embedded_model_dir("smollm2")
    monkeypatch.setattr(embedded, "locked", None)
    assert embedded.embedded_model_dir("smollm2") == folder


def test_others_may_read_a_shared_cache(cache, monkeypatch):
    def fill_privately(model, folder):
        fill(model, folder)
        (folder / "model.safetensors").chmod(0o600)

    monkeypatch.setattr(embedded, "_make", fill_privately)
    folder = embedded.embedded_model_dir("smollm2")
    assert stat.S_IMODE((folder / "model.safetensors").stat().st_mode) & 0o044
