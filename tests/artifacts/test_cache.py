"""What was computed once: taken as it was written or computed anew, within a limit, whatever happens to the folder."""

import os
import resource
import shutil
import signal
import time
from contextlib import redirect_stderr
from io import StringIO

import pytest
import torch
from children import end, in_child, obey_modes, start

from lofit_cli.artifacts import cache as store
from lofit_cli.artifacts.cache import clear, find_entries, keep, max_bytes, recall
from lofit_cli.errors import UserError

KEY = {"weights": "a", "settings": {"threads": 1}}
VALUES = {"values": torch.arange(1000, dtype=torch.float32)}


def put(key=KEY, values=VALUES):
    """Keep something, and return its file."""
    before = {entry.file for entry in find_entries()}
    keep("scores", key, values)
    (file,) = {entry.file for entry in find_entries()} - before
    return file


def is_kept(key=KEY):
    found = recall("scores", key)
    if found is not None:
        assert found.keys() == VALUES.keys()
        assert torch.equal(found["values"], VALUES["values"])
    return found is not None


def test_what_was_kept_is_found_by_its_whole_key(cache):
    assert not is_kept()
    put()
    assert is_kept()
    assert not is_kept({**KEY, "settings": {"threads": 2}})
    assert recall("texts", KEY) is None


def flip(file):
    content = bytearray(file.read_bytes())
    content[-7] ^= 4
    file.write_bytes(content)


def foreign(file):
    """Put what was kept under another key in its place."""
    other = put({"weights": "b"}, {"values": VALUES["values"] + 1})
    other.replace(file)


def in_place(make):
    def put_there(file):
        file.unlink()
        make(file)

    return put_there


def link(file):
    """Let it be a link to a file of the user's that holds the very same."""
    mine = file.parents[4] / "mine"
    file.rename(mine)
    file.symlink_to(mine)


DAMAGE = {
    "a bit": flip,
    "cut off": lambda file: os.truncate(file, file.stat().st_size // 2),
    "empty": lambda file: os.truncate(file, 0),
    "another's": foreign,
    "a pipe": in_place(os.mkfifo),
    "a folder": in_place(lambda file: (file.mkdir(), (file / "x").touch())),
    "a link": link,
    "a link to nothing": in_place(lambda file: file.symlink_to("nowhere")),
    "text": lambda file: file.write_text("{}"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_what_is_not_as_it_was_written_is_removed_and_kept_anew(damage, cache, tmp_path):
    file = put()
    damage(file)
    signal.alarm(20)
    assert not is_kept()
    signal.alarm(0)
    assert not file.exists()
    assert not file.is_symlink()
    assert (tmp_path / "mine").exists() == (damage is link)
    put()
    assert is_kept()


def close(folder):
    """Let nothing be written into a folder."""
    for path in (*folder.rglob("*"), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    obey_modes()


@pytest.mark.parametrize("broken", ["closed", "full", "a file"])
def test_a_folder_that_cannot_be_written_is_told_once_and_serves_what_it_has(broken, cache):
    put()

    def work():
        if broken == "closed":
            close(cache)
        elif broken == "full":
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (40, resource.RLIM_INFINITY))
        else:
            shutil.rmtree(cache)
            cache.touch()
        with redirect_stderr(StringIO()) as said:
            for weights in "bcd":
                keep("scores", {"weights": weights}, VALUES)
        return is_kept(), len(find_entries()), list(map(str, cache.rglob("*.partial"))), said.getvalue()

    kept, num_kept, partial, said = in_child(work)
    cache.chmod(0o755)
    assert (kept, num_kept, partial) == ((False, 0, []) if broken == "a file" else (True, 1, []))
    assert said.count("note: what is computed is not kept for other runs: could not write") == 1
    assert said.count("\n") == 1


def test_the_longest_unused_make_room(cache, monkeypatch):
    size = put({"weights": 0}).stat().st_size
    monkeypatch.setenv("LOFIT_CACHE_GB", f"{4.5 * size / 1e9:.9f}")
    monkeypatch.setattr(store, "LARGEST_SHARE", 1)
    files = [put({"weights": number}) for number in (1, 2, 3)]
    for age, file in enumerate(reversed(files)):
        os.utime(file, (1e9 - age, 1e9 - age))
    assert is_kept({"weights": 1})
    os.utime(next(entry.file for entry in find_entries() if entry.file not in files), (2e9, 2e9))
    keep("scores", {"weights": 4}, VALUES)
    assert [number for number in range(5) if is_kept({"weights": number})] == [0, 1, 3, 4]


def test_a_lower_limit_holds_at_once_whatever_is_to_be_kept(cache, monkeypatch):
    size = put({"weights": 0}).stat().st_size
    put({"weights": 1})
    os.utime(next(entry.file for entry in find_entries()), (1e9, 1e9))
    monkeypatch.setenv("LOFIT_CACHE_GB", f"{1.5 * size / 1e9:.9f}")
    keep("scores", KEY, VALUES)
    assert len(find_entries()) == 1
    assert not is_kept()


def test_what_is_too_large_is_not_kept_and_puts_nothing_out(cache, monkeypatch):
    put({"weights": 0})
    monkeypatch.setenv("LOFIT_CACHE_GB", "0.00003")
    keep("scores", KEY, VALUES)
    assert [is_kept({"weights": 0}), is_kept()] == [True, False]


@pytest.mark.parametrize("size", ["-1", "much", "nan", "1e3", "٣.x"])
def test_a_limit_that_is_none_is_refused(size, monkeypatch):
    monkeypatch.setenv("LOFIT_CACHE_GB", size)
    with pytest.raises(UserError, match=f"LOFIT_CACHE_GB={size} is not a size; give a number"):
        max_bytes()


def test_processes_that_write_and_read_the_same_entry_are_right(cache):
    def work(seed):
        for number in range(60):
            if number % 20 == seed:
                clear()
            if not is_kept():
                keep("scores", KEY, VALUES)
        return True

    assert [end(child) for child in [start(work, seed) for seed in range(3)]] == [True] * 3
    put({"weights": "x"})
    assert {entry.file.name[-12:] for entry in find_entries()} == {".safetensors"}


def test_a_kill_while_writing_leaves_nothing_that_is_taken_or_stays(cache, monkeypatch):
    def stop(file):
        if file.is_file():
            os.kill(os.getpid(), signal.SIGKILL)

    def work():
        monkeypatch.setattr("lofit_cli.artifacts.files.sync", stop)
        keep("scores", KEY, VALUES)

    assert in_child(work) is None
    (left,) = (path for path in cache.rglob("*") if path.is_file())
    assert left.name.endswith(".partial")
    assert not is_kept()
    put()
    assert left.exists()
    os.utime(left, (time.time() - 4000,) * 2)
    put({"weights": "x"})
    assert not left.exists()


def test_clearing_leaves_what_is_not_ours(cache):
    file = put()
    mine = [file.with_name("notes.txt"), file.with_name("other.safetensors"), cache.parent / "model" / "x.safetensors"]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert [entry.file for entry in clear()] == [file]
    assert all(path.exists() for path in mine)
    assert not file.exists()
