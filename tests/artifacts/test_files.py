"""A file that has its name is whole, on the disk, readable by others and inside its folder."""

import json
import os
import stat
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from matplotlib.figure import Figure

from lofit_cli.artifacts import files
from lofit_cli.artifacts.files import (
    append_line,
    read_json,
    remove_partial_folders,
    write_file,
    write_folder,
    write_json,
)
from lofit_cli.artifacts.predictions import GeneratedAnswer, write_predictions
from lofit_cli.artifacts.tensors import write_tensors
from lofit_cli.errors import RunError, UserError
from lofit_cli.report.plots import save_figure

ANSWER = GeneratedAnswer("1", "", "?", {"em": 1.0}, ["a"], "a")
WRITERS = {
    "json": lambda folder: write_json(folder / "x", {}),
    "lines": lambda folder: append_line(folder / "x", {}, is_first=True),
    "tensors": lambda folder: write_tensors(folder / "x", "kind", {"a": torch.zeros(2)}, {}),
    "parquet": lambda folder: write_predictions(folder, [ANSWER]),
    "picture": lambda folder: save_figure(Figure(), folder / "x"),
    "text": lambda folder: write_file(folder / "x", lambda path: path.write_text("a")),
}


def written(folder):
    (file,) = (entry for entry in folder.iterdir() if entry.name != "elsewhere")
    return file


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    file = tmp_path / "x.json"
    write_json(file, {"kept": True})

    def half(path):
        path.write_text("{")
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match=r"could not write .*No space left on device"):
        write_file(file, half)
    assert json.loads(file.read_text()) == {"kept": True}
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.skipif(os.name != "posix", reason="Windows has no umask")
@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664)])
def test_every_file_is_as_readable_as_the_umask_says(tmp_path, name, umask, mode):
    before = os.umask(umask)
    try:
        WRITERS[name](tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(written(tmp_path).stat().st_mode) == mode


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_a_link_is_replaced_and_what_it_points_to_is_left_alone(tmp_path, name, link):
    (tmp_path / "elsewhere").write_text("mine")
    place = tmp_path / ("predictions.parquet" if name == "parquet" else "x")
    getattr(place, link)(tmp_path / "elsewhere")
    WRITERS[name](tmp_path)
    assert (tmp_path / "elsewhere").read_text() == "mine"
    assert not place.is_symlink()
    assert place.read_bytes() != b"mine"


def test_a_line_is_never_added_through_a_link(tmp_path):
    (tmp_path / "elsewhere").write_text("mine")
    append_line(tmp_path / "x", {"step": 1}, is_first=True)
    (tmp_path / "x").unlink()
    (tmp_path / "x").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="could not write"):
        append_line(tmp_path / "x", {"step": 2}, is_first=False)
    assert (tmp_path / "elsewhere").read_text() == "mine"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads the names of open files from /proc")
def test_the_file_is_on_the_disk_before_it_has_its_name_and_the_name_before_the_writer_goes_on(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace

    def record_sync(descriptor):
        calls.append(("sync", Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    def record_replace(source, target):
        calls.append(("rename", Path(source)))
        replace(source, target)

    monkeypatch.setattr(files.os, "fsync", record_sync)
    monkeypatch.setattr(files.os, "replace", record_replace)
    write_predictions(tmp_path, [ANSWER])
    assert [call for call, _ in calls] == ["sync", "rename", "sync"]
    assert calls[0][1] == calls[1][1]
    assert calls[2][1] == tmp_path
    assert pq.read_table(tmp_path / "predictions.parquet").num_rows == 1


def test_two_writers_of_one_file_never_share_a_temporary_name(tmp_path):
    def write_twice(path):
        path.write_text("slow")
        write_file(tmp_path / "x", lambda other: other.write_text("fast"))
        assert path.read_text() == "slow"

    write_file(tmp_path / "x", write_twice)
    assert (tmp_path / "x").read_text() == "slow"
    assert list(tmp_path.iterdir()) == [tmp_path / "x"]


def test_a_folder_is_taken_as_it_is_where_another_process_was_faster(tmp_path):
    folder = tmp_path / "model"

    def fill(partial):
        (partial / "a").write_text("slow")
        folder.mkdir()
        (folder / "a").write_text("fast")

    write_folder(folder, fill)
    assert (folder / "a").read_text() == "fast"
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_whose_filling_fails_leaves_nothing(tmp_path):
    def fill(partial):
        (partial / "a").write_text("half")
        raise RunError("no network")

    with pytest.raises(RunError, match="no network"):
        write_folder(tmp_path / "model", fill)
    assert not list(tmp_path.iterdir())


def test_what_killed_processes_left_of_a_folder_is_removed_and_nothing_else(tmp_path):
    for name in (".model.0123.partial", ".model2.0123.partial", "model", ".model.lock"):
        (tmp_path / name).mkdir()
    remove_partial_folders(tmp_path / "model")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".model.lock", ".model2.0123.partial", "model"]


@pytest.mark.parametrize("content", ["", "{", "\xff", "[" * 100_000, "9" * 5000, "nothing"])
def test_what_is_no_json_is_refused(tmp_path, content):
    (tmp_path / "x").write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match="cut off or not JSON"):
        read_json(tmp_path / "x")


def test_a_picture_that_cannot_be_written_is_only_noted(tmp_path, capsys):
    assert not save_figure(Figure(), tmp_path / "nowhere" / "x.png")
    figure = Figure()
    figure.suptitle("$one$ and $\\notacommand$")
    assert not save_figure(figure, tmp_path / "y.png")
    assert not list(tmp_path.iterdir())
    said = capsys.readouterr().err
    assert "note: no picture x.png: could not write" in said
    assert "note: no picture y.png: " in said
