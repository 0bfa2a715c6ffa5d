"""A run directory belongs to one process at a time, and holds what one run wrote."""

import errno
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lofit_cli.artifacts.files import write_json
from lofit_cli.artifacts.leftovers import LOCK, make_way
from lofit_cli.artifacts.run_dir import start_run
from lofit_cli.errors import RunError, UserError
from lofit_cli.schema.stages import CompareConfig

HOLD = """
import sys, time
from pathlib import Path
from lofit_cli.artifacts.run_dir import start_run
from lofit_cli.schema.stages import CompareConfig
with start_run(Path(sys.argv[1]), "compare", CompareConfig()) as run:
    run.append_line("history.jsonl", {"step": 1})
    print("begun", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that is in the middle of a run in `x`."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "x")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        yield process
        process.kill()


def run_in(folder):
    with start_run(folder, "compare", CompareConfig()) as run:
        run.append_line("validation.jsonl", {"epoch": 1})


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path, holder):
    for use in (run_in, lambda folder: make_way(folder, "compare", CompareConfig())):
        with pytest.raises(UserError, match="x is being written by another process; wait for it or choose another"):
            use(tmp_path / "x")
    assert (tmp_path / "x" / "history.jsonl").exists()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    run_in(tmp_path / "x")
    assert {entry.name for entry in (tmp_path / "x").iterdir()} == {"manifest.json", "validation.jsonl", LOCK}
    (aside,) = tmp_path.glob("x.killed-*")
    assert [entry.name for entry in aside.iterdir()] == ["history.jsonl"]


def test_the_same_directory_twice_in_one_process_is_refused(tmp_path):
    with start_run(tmp_path, "compare", CompareConfig()), pytest.raises(UserError, match="another process"):
        run_in(tmp_path)
    with pytest.raises(UserError, match="already holds a finished run"):
        run_in(tmp_path)


@pytest.mark.parametrize("content", ["", '{"status": "finished", "stage"', "[]", '{"status": 3}', '{"status": "../x"}'])
def test_a_manifest_that_cannot_be_read_is_moved_aside(tmp_path, content):
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "manifest.json").write_text(content)
    (folder / "intervention.safetensors").write_text("old")
    make_way(folder, "compare", CompareConfig())
    run_in(folder)
    assert not (folder / "intervention.safetensors").exists()
    (aside,) = tmp_path.glob("x.unreadable-*")
    assert (aside / "manifest.json").read_text() == content


@pytest.mark.parametrize(
    "trace", ["intervention.safetensors", "history.jsonl", "metrics.json", LOCK, "seen_items.json"]
)
def test_all_that_a_killed_run_left_is_moved_aside(tmp_path, trace):
    folder = tmp_path / "x"
    (folder / "pictures").mkdir(parents=True)
    (folder / trace).write_text("old")
    (folder / "note.txt").write_text("old")
    run_in(folder)
    assert {entry.name for entry in folder.iterdir()} == {"manifest.json", "validation.jsonl", LOCK}
    (aside,) = tmp_path.glob("x.killed-*")
    assert {entry.name for entry in aside.iterdir()} == {trace, "note.txt", "pictures"} - {LOCK}


def test_a_folder_without_any_trace_of_a_run_keeps_what_the_user_put_there(tmp_path):
    (tmp_path / "log.txt").write_text("mine")
    make_way(tmp_path, "compare", CompareConfig())
    assert not (tmp_path / LOCK).exists()
    run_in(tmp_path)
    assert (tmp_path / "log.txt").read_text() == "mine"
    assert not list(tmp_path.parent.glob(f"{tmp_path.name}.*"))


def test_before_hydra_writes_its_files_those_of_a_killed_run_are_moved_and_links_with_them(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / ".hydra").symlink_to(tmp_path / "mine")
    make_way(tmp_path / "x", "compare", CompareConfig())
    assert not (tmp_path / "x" / ".hydra").is_symlink()
    assert (tmp_path / "mine").is_dir()


@pytest.mark.parametrize("name", ["manifest.json", "history.jsonl", LOCK, "validation.jsonl"])
def test_links_in_a_run_directory_are_never_written_through(tmp_path, name):
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / name).symlink_to(tmp_path / "elsewhere")
    run_in(tmp_path / "x")
    assert (tmp_path / "elsewhere").read_text() == "mine"
    assert json.loads((tmp_path / "x" / "manifest.json").read_text())["status"] == "finished"


def test_a_file_is_no_run_directory(tmp_path):
    (tmp_path / "x").write_text("mine")
    with pytest.raises(UserError, match=r"hydra.run.dir=.*x is a file; name a folder"):
        make_way(tmp_path / "x", "compare", CompareConfig())


def test_a_folder_that_cannot_be_cleared_is_one_sentence(tmp_path, monkeypatch):
    def refuse(self, target):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    write_json(tmp_path / "manifest.json", {"status": "failed"})
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(RunError, match=r"could not move what is in .*: Invalid cross-device link; choose another"):
        make_way(tmp_path, "compare", CompareConfig())


def interrupt(folder, *names):
    with start_run(folder, "compare", CompareConfig()) as run:
        for name in names:
            write_json(run.path / name, {})
        raise KeyboardInterrupt


def test_an_interrupt_says_what_was_really_written(tmp_path):
    with pytest.raises(KeyboardInterrupt, match=r"^nothing was made yet$"):
        interrupt(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt, match=r"b keeps x\.json, y\.json$"):
        interrupt(tmp_path / "b", "y.json", "x.json")


def test_all_lines_of_a_log_are_on_the_disk_before_the_manifest(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("lofit_cli.artifacts.run_dir.sync", lambda path: synced.append(path.name))
    monkeypatch.setattr("lofit_cli.artifacts.run_dir.write_json", lambda file, content: synced.append(file.name))
    with start_run(tmp_path / "x", "compare", CompareConfig()) as run:
        for step in range(100):
            run.append_line("history.jsonl", {"step": step})
        num_synced = len(synced)
    assert num_synced < 10
    assert "history.jsonl" in synced[num_synced:]
    assert synced.index("x") < len(synced) - 1
    assert synced[-1] == "manifest.json"
