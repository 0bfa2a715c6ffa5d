"""Several processes share a run: the same offsets and the same predictions as one, and one of them writes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from several_processes import run_together
from stage_runs import lines, manifest

from lofit_cli.artifacts.run_dir import RunDir

METHODS = {
    "lofit": ("train-offsets", "head_mask=heads.json"),
    "reft": ("train-offsets", "method=loreft"),
    "lora": ("train-offsets", "method=lora", "method.config.lora_dropout=0"),
    "bitfit": ("train-offsets", "method=bitfit"),
    "sft": ("train-offsets", "head_mask=heads.json", "task=clutrr", "task.data_dir=sample"),
    "l1": ("train-offsets", "head_mask=heads.json", "trainer.l1=1e-2", "trainer.keep=best"),
    "more processes than items": ("train-offsets", "head_mask=heads.json", "trainer.batch_size=1"),
}


def both(shared_command, settings, count=2):
    """Run a stage in one process and in several; return both run directories."""
    for folder, number in (("one", 1), ("several", count)):
        for ended in run_together(shared_command(*settings, run=folder), number):
            assert ended.exit_code == 0, ended.said
    return Path("one/x"), Path("several/x")


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_learn_what_one_does(shared_command, name):
    one, several = both(shared_command, METHODS[name])
    expected, found = (load_file(folder / "intervention.safetensors") for folder in (one, several))
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=1e-5)
    assert max(float(value.abs().max()) for value in expected.values() if value.is_floating_point()) > 1e-2
    for log in ("history.jsonl", "validation.jsonl"):
        for a, b in zip(lines(one / log), lines(several / log), strict=True):
            assert a["loss"] == pytest.approx(b["loss"], abs=1e-4)
    assert [manifest(folder)["num_processes"] for folder in (one, several)] == [1, 2]


@pytest.mark.parametrize("settings", [(), ("selector=sink", "trainer.batch_size=1")], ids=["scale", "sink"])
def test_three_processes_select_the_heads_that_one_does(shared_command, settings):
    one, several = both(shared_command, ("select-heads", "num_heads=3", *settings), 3)
    expected, found = (load_file(folder / "head_mask.safetensors") for folder in (one, several))
    assert torch.equal(expected["head_mask"], found["head_mask"])
    torch.testing.assert_close(found["head_scores"], expected["head_scores"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        ("model.max_row_tokens=64",),
        ("model.max_row_tokens=4096",),
        ("task=clutrr", "task.data_dir=sample", "task.max_new_tokens=3", "model.max_row_tokens=600"),
    ],
    ids=["many rows", "one row", "texts"],
)
def test_predictions_are_the_same_bytes_in_the_same_order(shared_command, settings):
    one, several = both(shared_command, ("evaluate", "intervention=none", *settings), 3)
    for name in ("predictions.parquet", "metrics.json"):
        assert (one / name).read_bytes() == (several / name).read_bytes()
    assert not (several / "outcomes.jsonl").exists()


def test_one_process_writes_and_speaks(shared_command):
    leader, other = run_together(shared_command("train-offsets", "head_mask=heads.json", run="several"))
    assert "run directory: several/x" in leader.said
    assert other.said == ""
    assert sorted(path.name for path in Path("several").iterdir()) == ["x"]


def test_a_finished_run_is_found_by_all(shared_command):
    evaluation = shared_command("evaluate", "intervention=none", run="several")
    run_together(evaluation)
    before = (Path("several/x") / "predictions.parquet").stat().st_mtime_ns
    leader, other = run_together(evaluation)
    assert (leader.exit_code, other.exit_code, other.said) == (0, 0, "")
    assert "already finished" in leader.said
    assert (Path("several/x") / "predictions.parquet").stat().st_mtime_ns == before


def stop_at(log, num_lines):
    """Return what makes a process end where a log gets its n-th line."""

    def before(number):
        add, count = RunDir.append_line, 0

        def append_line(self, name, content):
            nonlocal count
            add(self, name, content)
            count += name == log
            if count == num_lines and number == 0:
                os._exit(9)

        RunDir.append_line = append_line

    return before


@pytest.mark.parametrize(
    ("settings", "log", "num_lines", "name"),
    [
        (METHODS["lofit"], "history.jsonl", 4, "intervention.safetensors"),
        (METHODS["l1"], "history.jsonl", 5, "intervention.safetensors"),
        (("evaluate", "intervention=none", "model.max_row_tokens=64"), "outcomes.jsonl", 2, "predictions.parquet"),
    ],
    ids=["training", "the best of training", "scoring"],
)
def test_processes_that_were_killed_go_on_to_the_same_bytes(shared_command, settings, log, num_lines, name):
    extra = () if settings[0] == "evaluate" else ("trainer.checkpoint_every=1",)
    whole, killed = (shared_command(*settings, *extra, run=folder) for folder in ("whole", "killed"))
    assert [ended.exit_code for ended in run_together(whole)] == [0, 0]
    leader, other = run_together(killed, before=stop_at(log, num_lines))
    assert leader.exit_code == 9
    assert other.exit_code in (1, 130, -15)
    ended = run_together(killed)
    assert [process.exit_code for process in ended] == [0, 0], ended
    assert manifest("killed/x")["continued"]
    assert (Path("whole/x") / name).read_bytes() == (Path("killed/x") / name).read_bytes()


def test_a_sweep_of_two_points(shared_command):
    words = [
        word for word in shared_command("train-offsets", "head_mask=heads.json", run="several") if "run.dir" not in word
    ]
    leader, other = run_together([words[0], "-m", *words[1:], "seed=1,2"])
    assert (leader.exit_code, other.exit_code, other.said) == (0, 0, "")
    assert len(list(Path("several").rglob("manifest.json"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    [
        ("torch.distributed.run", "--nproc-per-node=2"),
        ("accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--num_machines=1", "--mixed_precision=no"),
    ],
    ids=["torchrun", "accelerate launch"],
)
def test_launchers_that_people_have(shared_command, launcher):
    words = shared_command("train-offsets", "head_mask=heads.json", run="several")
    ended = subprocess.run(
        [sys.executable, "-m", *launcher, "-m", "lofit_cli", *words], capture_output=True, text=True, timeout=600
    )
    assert ended.returncode == 0, ended.stderr
    assert manifest("several/x")["num_processes"] == 2
