"""A disk that fills at any write ends a command in one sentence; with room again it finishes to the same bytes."""

import errno
import json
import random
import shutil
from pathlib import Path

import pytest
from children import MS_REMOUNT, in_child, invoke, mount, own_mounts, refused
from fault_stages import PICTURES, STAGES, WRITTEN_AT, content
from faults import Disk
from safetensors.torch import load_file
from stage_runs import manifest

WHOLE = Path("runs/whole/x")
FAULTY = Path("runs/faulty/x")
PROGRESS = {"started.json", "outcomes.jsonl", "validation.jsonl", "history.jsonl"}


def require_no_halves(folder, whole):
    """Refuse a file that has its name and is not whole; logs may be cut off."""
    for file in folder.rglob("*"):
        if not file.is_file() or {".hydra", "checkpoints"} & {*file.parts} or file.name in (*PROGRESS, ".lock"):
            continue
        assert not file.name.endswith(".partial"), file
        if file.suffix == ".json":
            json.loads(file.read_text())
        elif file.suffix == ".safetensors":
            load_file(file)
        else:
            assert WRITTEN_AT.sub(b"", file.read_bytes()) == whole[file.name], file


def fill_and_finish(command, moment, number):
    """Run a command whose disk fills at a moment, then again with room; return whether the fault was met."""
    shutil.rmtree("runs/faulty", ignore_errors=True)
    whole, disk = content(WHOLE), Disk("runs/faulty", moment, number)
    code, said = invoke(command)
    disk.mend()
    require_no_halves(FAULTY, whole[0])
    lost = {name for name in whole[0] if name.endswith(PICTURES) and f"note: no picture {name}: could not" in said}
    if code == 0:
        assert disk.count < moment or lost, said
    else:
        assert (code, said.rstrip().rpartition("\n")[2][:12]) == (1, "lofit: could"), said
    code, said = invoke(command)
    assert code == 0, said
    files, history = content(FAULTY)
    without = {name: found for name, found in whole[0].items() if name not in lost or name in files}
    assert files.keys() == without.keys()
    for name, found in without.items():
        assert files[name] == found, (moment, name, first_difference(files[name], found))
    assert history == whole[1]
    assert manifest(FAULTY)["status"] == "finished"
    assert not list(Path("runs").rglob("*.partial"))
    return disk.count >= moment


def first_difference(found, wanted):
    """Return what two contents are where they begin to differ."""
    place = next((i for i, pair in enumerate(zip(found, wanted, strict=False)) if len({*pair}) > 1), 0)
    return found[place - 40 : place + 60], wanted[place - 40 : place + 60]


def count_operations(command):
    disk = Disk("runs/whole", None, errno.ENOSPC)
    code, said = invoke(command)
    assert code == 0, said
    return disk.count


def fill_tiny_disk(command, kilobytes):
    """Run a command on a disk of that size, then with more room; return whether mounts are allowed here."""
    whole, place = content(WHOLE), Path("runs/faulty").resolve()
    place.mkdir(parents=True)
    if not (own_mounts() and mount("none", place, "tmpfs", 0, f"size={kilobytes}k")):
        return False
    sentence = refused(command, "could not", codes=(1,))
    assert "No space left on device" in sentence
    require_no_halves(FAULTY, whole[0])
    assert mount("none", place, "tmpfs", MS_REMOUNT, "size=64m")
    code, said = invoke(command)
    assert (code, content(FAULTY)) == (0, whole), said
    return True


@pytest.mark.parametrize("kilobytes", [8, 24, 40])
def test_a_disk_that_is_really_full(command, kilobytes):
    in_child(count_operations, command("lofit", "whole"))
    if not in_child(fill_tiny_disk, command("lofit", "faulty"), kilobytes):
        pytest.skip("no mounts of one's own here")


def export_to_tiny_disk(words, kilobytes):
    """Export to a disk of that size, then with room; return whether mounts are allowed here."""
    place = Path("disk").resolve()
    place.mkdir()
    if not (own_mounts() and mount("none", place, "tmpfs", 0, f"size={kilobytes}k")):
        return False
    refused(words, "could not write", "No space left on device", codes=(1,))
    assert not list(place.iterdir())
    assert mount("none", place, "tmpfs", MS_REMOUNT, "size=64m")
    code, said = invoke(words)
    assert (code, (place / "out" / "lofit_export.json").exists()) == (0, True), said
    return True


@pytest.mark.long
@pytest.mark.parametrize(("to", "kilobytes"), [("vector", 4), ("hf", 4), ("hf", 100)])
def test_an_export_to_a_disk_that_is_really_full(command, to, kilobytes):
    words = ["export", "intervention=runs/made", f"to={to}", "out=disk/out"]
    if not in_child(export_to_tiny_disk, words, kilobytes):
        pytest.skip("no mounts of one's own here")


def prune_and_fail(moment, number):
    """Prune where removing fails from a moment on, then without; only what is of use is left."""
    disk = Disk("runs", moment, number, events=("os.remove", "os.rmdir", "shutil.rmtree"))
    code, said = invoke(["runs", "--prune"], typed="y\n")
    assert (code, "stays: " in said) == (0, True), said
    disk.mend()
    assert all(manifest(folder)["status"] == "finished" for folder in ("runs/a", "runs/b", "runs/made"))
    assert (Path("runs/again") / "manifest.json").exists()
    code, said = invoke(["runs", "--prune"], typed="y\n")
    assert (code, "removed 1 run directories" in said) == (0, True), said


@pytest.mark.parametrize("moment", [1, 3, 6])
def test_what_could_not_be_pruned_is_pruned_later(command, moment):
    shutil.copytree("runs/a", "runs/again")
    about = manifest("runs/again")
    del about["checksum"]
    Path("runs/again/manifest.json").write_text(json.dumps(about | {"status": "failed"}))
    in_child(prune_and_fail, moment, errno.EROFS)


FILLED = ("scale", "lofit", "answers", "texts", "table")


@pytest.mark.parametrize("name", FILLED)
def test_a_disk_that_is_full_from_any_operation_on(command, name):
    count = in_child(count_operations, command(name, "whole"))
    draw = random.Random(name)
    for moment in [draw.randrange(1, count) for _ in range(2)]:
        in_child(fill_and_finish, command(name, "faulty"), moment, errno.ENOSPC)


@pytest.mark.long
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("name", STAGES)
def test_every_operation_may_be_the_first_that_fails(command, name, number):
    count = in_child(count_operations, command(name, "whole"))
    met = []
    for moment in range(1, count + 1):
        met.append(in_child(fill_and_finish, command(name, "faulty"), moment, number))
    assert sum(met) > len(met) / 2
