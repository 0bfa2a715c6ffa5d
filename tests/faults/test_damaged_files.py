"""What is cut off, changed by a bit or replaced is named in a sentence, or passed over where it is only progress."""

import json
import os
import random
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from children import in_child, invoke, refused
from fault_stages import content
from stage_runs import manifest

from lofit_cli.artifacts.tensors import read_all_tensors, write_tensors

FILES = {
    "runs/made": ("manifest.json", "intervention.safetensors", "head_mask.safetensors", "seen_items.json"),
    "runs/b": ("manifest.json", "predictions.parquet", "metrics.json"),
}


def cut(length):
    return lambda content: content[: int(length * len(content))] if 0 < length < 1 else content[:length]


def flip(seed):
    def flipped(content):
        place = random.Random(seed).randrange(8 * len(content))
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        return bytes(changed)

    return flipped


DAMAGES = {"empty": cut(0), "one byte": cut(1), "half": cut(0.5), "last byte": cut(-1)}
FLIPS = {f"bit {seed}": flip(seed) for seed in range(3)}


def seldom(always, others):
    """Return what is tried each time, and what is like it and tried by hand."""
    return [*always, *(pytest.param(other, marks=pytest.mark.long) for other in others if other not in always)]


def readers(command, name):
    """Return the commands that read a file of a run, each with what it writes into a folder of its own."""
    heads = [*command("lofit", "r1"), "head_mask=runs/made/head_mask.safetensors"]
    table = [*command("table", "r2"), "runs=[runs/a,runs/b]"]
    measure = command("answers", "r3")
    by_name = {
        "manifest.json": [heads, measure, ["generate", "intervention=runs/made", "prompt=x"], table],
        "head_mask.safetensors": [heads],
        "seen_items.json": [heads, measure],
        "intervention.safetensors": [measure, ["generate", "intervention=runs/made", "prompt=x"]],
        "predictions.parquet": [table],
        "metrics.json": [],
    }
    return by_name[name]


def says_the_same(whole, damaged):
    """Return whether a damage was to JSON's white space, or to the name of its checksum."""
    with suppress(ValueError):
        before, after = json.loads(whole), json.loads(damaged)
        if isinstance(before, dict):
            before.pop("checksum", None)
            return isinstance(after, dict) and before.items() <= after.items()
        return before == after
    return False


def try_damage(command, folder, name, damage):
    """Damage a file; each command that reads it names it, and `runs` lists what is there."""
    file = Path(folder, name)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    if says_the_same(whole, file.read_bytes()):
        return
    for words in readers(command, name):
        reads_made = words[0] != "compare"
        if name == "manifest.json" and reads_made != (folder == "runs/made"):
            continue
        refused(words, str(file) if name != "manifest.json" else folder, codes=(2,))
    code, said = invoke(["runs"])
    assert (code, folder in said) == (0, True), said
    file.write_bytes(whole)


@pytest.mark.parametrize(("folder", "name"), [(folder, name) for folder in FILES for name in FILES[folder]])
def test_each_reader_names_a_file_that_is_not_as_it_was_written(command, folder, name):
    def try_all():
        for damage in (DAMAGES["half"], FLIPS["bit 0"]):
            try_damage(command, folder, name, damage)

    in_child(try_all)


@pytest.mark.long
@pytest.mark.parametrize(("folder", "name"), [(folder, name) for folder in FILES for name in FILES[folder]])
def test_no_bit_of_a_file_changes_unnoticed(command, folder, name):
    for damage in (*DAMAGES.values(), *map(flip, range(30))):
        in_child(try_damage, command, folder, name, damage)


@pytest.mark.parametrize("damage", [DAMAGES["half"], DAMAGES["last byte"], FLIPS["bit 1"]])
def test_the_same_command_does_not_take_a_damaged_run(command, damage):
    words = [word for word in command("answers", "again")[:-2] if "max_row_tokens" not in word] + ["runs_dir=runs"]
    file = Path("runs/b/predictions.parquet")
    file.write_bytes(damage(file.read_bytes()))
    refused([*words, "hydra.run.dir=runs/b"], str(file), codes=(2,))
    code, said = in_child(invoke, [*words, "hydra.run.dir=runs/c"])
    assert (code, "note: a finished run is passed over; runs/b/predictions.parquet is not" in said) == (0, True), said
    assert content(Path("runs/c"))[0]["metrics.json"] == Path("runs/b/metrics.json").read_bytes()


def require_noticed(words):
    """Refuse a command that ends well, unless it says that what its heads have learnt from is not known."""
    code, said = invoke(words)
    assert code in (1, 2) or "learnt from is not known" in said, said


def put_fifo(path):
    os.mkfifo(path)


def put_folder(path):
    path.mkdir()
    (path / "x").write_text("")


def put_link_to_nowhere(path):
    path.symlink_to("nowhere")


@pytest.mark.parametrize("put", seldom([put_fifo], [put_folder, put_link_to_nowhere]))
def test_what_is_no_file_is_neither_waited_for_nor_read(command, put):
    def try_all():
        for folder, names in FILES.items():
            for name in names:
                file = Path(folder, name)
                shutil.move(file, "kept")
                put(file)
                for words in readers(command, name):
                    if name != "manifest.json" or (words[0] == "compare") == (folder == "runs/b"):
                        require_noticed(words)
                assert invoke(["runs"])[0] == 0
                shutil.rmtree(file) if file.is_dir() else file.unlink()
                shutil.move("kept", file)

    in_child(try_all)


def finish(command, name):
    """Let a killed run go on, in each way; it ends as the undisturbed one did."""
    code, said = invoke([command(name, name)[0], f"resume=runs/{name}/x"])
    assert code == 0, said
    assert content(Path(f"runs/{name}/x")) == content(Path(f"runs/{name}_whole/x"))
    assert manifest(f"runs/{name}/x")["status"] == "finished"


@pytest.mark.parametrize("damage", seldom(["half", "bit 1", "folder"], [*DAMAGES, *FLIPS, "fifo"]))
def test_damaged_progress_is_passed_over(begun, damage):
    shutil.copytree("runs", "kept", symlinks=True)
    for name, pattern in (("answers", "outcomes.jsonl"), ("lofit", "step-*"), ("lofit", "history.jsonl")):
        shutil.rmtree("runs")
        shutil.copytree("kept", "runs")
        for file in Path("runs", name).rglob(pattern):
            if damage in DAMAGES | FLIPS:
                file.write_bytes((DAMAGES | FLIPS)[damage](file.read_bytes()))
            else:
                file.unlink()
                {"fifo": put_fifo, "folder": put_folder}[damage](file)
        in_child(finish, begun, name)


OUTCOMES = {
    "beyond the items": lambda line: {**line, "items": [1000 + item for item in line["items"]]},
    "an item twice": lambda line: {**line, "items": [line["items"][0]] * len(line["items"])},
    "not a number": lambda line: {**line, "outcomes": [[[float("nan"), 3]]] * len(line["items"])},
    "fewer answers": lambda line: {**line, "outcomes": [answers[:1] for answers in line["outcomes"]]},
    "another value": lambda line: {**line, "outcomes": [[[-1.0, n] for _, n in a] for a in line["outcomes"]]},
    "a long text": lambda line: {**line, "outcomes": ["x" * 10**6] * len(line["items"])},
    "deeply nested": lambda line: {**line, "outcomes": json.loads("[" * 500 + "]" * 500)},
    "no checksum": lambda line: {"items": line["items"], "outcomes": line["outcomes"]},
}


@pytest.mark.parametrize("what", seldom(["beyond the items", "fewer answers", "another value"], OUTCOMES))
def test_outcomes_that_are_not_the_runs_own_are_measured_again(begun, what):
    file = Path("runs/answers/x/outcomes.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps(OUTCOMES[what](line)) + "\n" for line in lines))
    in_child(finish, begun, "answers")


CHECKPOINTS = {
    "another shape": lambda tensors, about: tensors.update({"parameter.0": tensors["parameter.0"][:1]}),
    "a foreign optimizer": lambda tensors, about: tensors.update({"optimizer.0.momentum": tensors["parameter.0"] * 2}),
    "no moments": lambda tensors, about: tensors.pop("optimizer.0.exp_avg"),
    "other moments": lambda tensors, about: tensors.update({"optimizer.0.exp_avg": tensors["parameter.0"][:, :3]}),
    "half precision": lambda tensors, about: tensors.update({"parameter.0": tensors["parameter.0"].half()}),
    "no generator": lambda tensors, about: tensors.update({"order": tensors["order"] * 0}),
    "a place of text": lambda tensors, about: about["position"].update(step="1"),
    "no schedule": lambda tensors, about: about.update(schedule=[]),
    "a foreign schedule": lambda tensors, about: about["schedule"].update(_last_lr=[float("nan")]),
}


@pytest.mark.parametrize("what", seldom(["another shape", "a foreign optimizer", "no generator"], CHECKPOINTS))
def test_checkpoints_of_something_else_are_passed_over(begun, what):
    for file in Path("runs/lofit/x/checkpoints").iterdir():
        tensors, about = read_all_tensors(file, "checkpoint")
        CHECKPOINTS[what](tensors, about)
        del about["kind"]
        write_tensors(file, "checkpoint", tensors, about)
    in_child(finish, begun, "lofit")


def test_settings_that_were_cut_off_are_not_gone_on_with(begun):
    file = Path("runs/lofit/x/.hydra/overrides.yaml")
    lines = file.read_text().splitlines()
    file.write_text("\n".join(line for line in lines if "keep=best" not in line))
    words = in_child(refused, ["train-offsets", "resume=runs/lofit/x"], "holds other settings than the run was begun")
    assert "hydra.run.dir=runs/lofit/x" in words
    assert Path("runs/lofit/x/checkpoints").exists()
