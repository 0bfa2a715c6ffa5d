"""What goes wrong while a command runs is said in one plain sentence, and what it wrote is kept."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from refusals import SELECT, refused

SECONDS = 300
"""How long a process that imports a model's libraries and ends may take where others use the cores as well."""


def test_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(lofit):
    result = lofit("select-heads", "trainer.learning_rate=1e37", "trainer.batch_size=2", "hydra.run.dir=runs/nan")
    refused(result, "no longer finite at step 2", exit_code=1)
    assert json.loads(Path("runs/nan/manifest.json").read_text())["status"] == "failed"
    assert Path("runs/nan/intervention.safetensors").exists()
    assert len(Path("runs/nan/history.jsonl").read_text().splitlines()) == 1
    refused(lofit("train-offsets", "head_mask=runs/nan"), "ended as 'failed'")


def _heed_signals():
    """Undo what a shell or nohup that started the tests has set aside."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _start(model_dir, *overrides, preexec_fn=_heed_signals):
    common = ["model=hub", f"model.id={model_dir}", "model.dtype=float32", "task=truthfulqa", "task.data_dir=data"]
    command = [sys.executable, "-m", "lofit_cli", "select-heads", *common, "num_heads=2", *overrides]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=preexec_fn)


def _wait_for(file, process):
    while not Path(file).exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_is_marked_and_keeps_what_it_wrote(workplace, model_dir, sent):
    process = _start(model_dir, "trainer.num_epochs=100000", "hydra.run.dir=runs/x")
    _wait_for("runs/x/history.jsonl", process)
    for _ in range(3):
        process.send_signal(sent)
        time.sleep(0.005)
    _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert "interrupted" in said
    assert "Traceback" not in said
    assert json.loads(Path("runs/x/manifest.json").read_text())["status"] == "interrupted"
    assert Path("runs/x/intervention.safetensors").exists()


def test_a_run_under_nohup_outlives_its_terminal(workplace, model_dir):
    process = _start(model_dir, "trainer.num_epochs=40", "hydra.run.dir=runs/x", preexec_fn=_ignore_hangups)
    _wait_for("runs/x/history.jsonl", process)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=SECONDS) == 0


def _ignore_hangups():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def test_a_run_in_an_interrupted_runs_directory_starts_anew_and_keeps_the_old_one(lofit):
    def interrupt(*args):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lofit_cli.stages.select_heads.select_top", interrupt)
        lofit(*SELECT, "hydra.run.dir=runs/x")
    assert lofit(*SELECT, "selector=random", "hydra.run.dir=runs/x").exit_code == 0
    assert not Path("runs/x/history.jsonl").exists()
    (old,) = Path("runs").glob("x.interrupted-*")
    assert (old / "history.jsonl").exists()


def _wait_for_library(pid, name):
    """Wait until a process has begun to load a library; where that can't be seen, long enough for most machines."""
    maps = Path(f"/proc/{pid}/maps")
    if not maps.exists():
        time.sleep(2)
    while maps.exists() and name not in maps.read_text():
        time.sleep(0.05)


def test_an_interrupt_while_libraries_load(workplace, model_dir):
    process = _start(model_dir, "trainer.num_epochs=100000")
    _wait_for_library(process.pid, "libtorch")
    # A library that loads may swallow the first one.
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(1.5)
    _, said = process.communicate(timeout=SECONDS)
    # One that comes while Python itself ends leaves no time to say so; a shell calls that 130 as well.
    assert process.returncode in (130, -signal.SIGINT), said
    assert "Traceback" not in said


@pytest.mark.skipif(os.name != "posix", reason="limits file sizes to stand in for a full disk")
def test_no_disk_space(workplace, model_dir):
    def fill_disk():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))

    process = _start(model_dir, "selector=random", preexec_fn=fill_disk)
    _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 1, said
    assert "could not write" in said
    assert "Traceback" not in said


def test_runs_dir_that_cannot_be_written(lofit):
    Path("file").write_text("")
    refused(lofit(*SELECT, "selector=random", "runs_dir=file"), "could not use", exit_code=1)


@pytest.mark.parametrize("key", ["runs_dir", "hydra.run.dir"])
def test_a_name_that_is_too_long_for_a_file(lofit, key):
    refused(lofit(*SELECT, "selector=random", f"{key}={'x' * 300}"), "File name too long", exit_code=1)


@pytest.mark.parametrize(
    "override", ["hydra.foo=1", "hydra/launcher=nope", "hydra.sweep.subdir=${nope}", "hydra.sweep.dir="]
)
def test_what_is_wrong_with_hydras_own_settings_is_said_before_a_sweep(lofit, override):
    refused(lofit(*SELECT, "-m", "selector=random", "seed=1,2", override), "hydra")
    assert not Path("multirun").exists()
    assert not Path("runs").exists()


def test_no_memory(lofit, monkeypatch):
    def run_out(*args, **settings):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr("lofit_cli.stages.evaluate.measure_base_model", run_out)
    result = lofit("evaluate", "intervention=none", "hydra.run.dir=runs/x")
    refused(result, "set model.max_row_tokens=256", exit_code=1)
    assert json.loads(Path("runs/x/manifest.json").read_text())["status"] == "failed"


def test_a_sweep_goes_on_after_a_point_that_fails(lofit):
    result = lofit("evaluate", "-m", "intervention=runs/nowhere,none")
    assert result.exit_code == 2
    assert len(list(Path("runs/evaluate").glob("*/metrics.json"))) == 1
