"""Folders that can't be written: what only reads goes on and says what it could not note, what writes says so."""

import os
import shutil
from pathlib import Path

import pytest
from children import in_child, invoke, make_read_only, obey_modes, own_mounts, refused
from stage_runs import manifest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork") or not Path("/proc/self").exists(), reason="needs Linux")


def close_by_mode(folder):
    """Take the right to write a folder and all that is in it away."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    obey_modes()
    return True


def close_by_mount(folder):
    """Mount a folder read-only; return whether that is allowed here."""
    return own_mounts() and make_read_only(folder)


def closed(how, folder, check):
    """Run a check in a process for which a folder is read-only."""

    def closing():
        if not how(Path(folder).resolve()):
            return False
        with pytest.raises(OSError, match=r"Permission denied|Read-only"):
            Path(folder, "probe").touch()
        check()
        return True

    found = in_child(closing)
    for path in (Path(folder), *Path(folder).rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    if not found:
        pytest.skip("no mounts of one's own here")


each_way = pytest.mark.parametrize("how", [close_by_mode, close_by_mount])


@each_way
def test_a_finished_run_is_taken_from_where_nothing_can_be_written(command, how):
    whole = [*command("answers", "shared")[:-2], "runs_dir=shared"]
    assert invoke([*whole, "hydra.run.dir=shared/evaluate/x"])[0] == 0
    before = Path("shared/evaluate/x/manifest.json").read_bytes()

    def take():
        code, said = invoke([*whole, "hydra.run.dir=mine"])
        assert (code, "already finished: shared/evaluate/x" in said) == (0, True), said
        assert manifest("mine")["copied_from"].endswith("shared/evaluate/x")
        assert invoke(["compare", "runs=[mine,shared/evaluate/x,runs/a]", "hydra.run.dir=table"])[0] == 0

    closed(how, "shared", take)
    assert Path("shared/evaluate/x/manifest.json").read_bytes() == before

    def take_in_place():
        code, said = invoke(whole)
        assert (code, "when it was asked for is not noted" in said) == (0, True), said

    closed(how, "shared/evaluate/x", take_in_place)
    assert Path("shared/evaluate/x/manifest.json").read_bytes() == before


@each_way
def test_what_is_built_on_read_only_runs_is_made(command, how):
    def build():
        for name in ("answers", "table"):
            words = [*command(name, "built")[:-2], "runs_dir=built", f"hydra.run.dir=built/{name}"]
            code, said = invoke(words)
            assert code == 0, said

    closed(how, "runs", build)


@each_way
def test_runs_are_listed_and_stay_where_nothing_can_be_written(command, how):
    shutil.copytree("runs/a", "runs/again")
    listed = invoke(["runs"])

    def list_runs():
        code, said = invoke(["runs"])
        assert (code, said.count("finished")) == (0, listed[1].count("finished"))
        assert invoke(["runs", "--json"])[0] == 0

    closed(how, "runs", list_runs)


@each_way
@pytest.mark.parametrize("name", ["lofit", "table"])
def test_a_run_that_cannot_be_written_is_refused_in_a_sentence(command, name, how):
    words = command(name, "closed")
    Path("runs/closed/x").mkdir(parents=True)

    def write():
        refused(words, "could not", "runs/closed/x", codes=(1,))
        refused([*words[:-2], "runs_dir=runs/closed"], "could not", codes=(1,))

    closed(how, "runs/closed", write)
    assert [path.name for path in Path("runs/closed").rglob("*")] == ["x"]
    code, said = invoke(words)
    assert code == 0, said


@each_way
def test_a_folder_that_may_not_be_looked_into_ends_no_listing(command, how):
    def look():
        code, said = invoke(["runs"])
        assert (code, "runs/b" in said) == (0, True), said

    Path("runs/a").chmod(0o000)
    closed(how, "runs/made", look)
