"""Several processes that can't share a run say so once, and none waits for ever."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from several_processes import run_together

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.training.descent import Descent


def require_refusal(ended, exit_code, told):
    """Require that each process says why it ends, or is stopped because another one has ended."""
    refused = [process for process in ended if process.exit_code == exit_code]
    assert refused
    assert any(told in process.said for process in refused)
    assert all(told in process.said or not process.said for process in refused)
    assert {process.exit_code for process in ended} <= {exit_code, 130, -15}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["compare", "runs=[x]"], "lofit compare is for one process; start it without torchrun"),
        (["runs"], "lofit runs is for one process"),
        (["evaluate", "--plan"], "--plan is for one process"),
        (["train-offsets", "-m", "hydra/launcher=joblib", "seed=1,2"], "starts processes of its own"),
    ],
    ids=["compare", "runs", "plan", "launcher"],
)
def test_what_is_for_one_process_is_refused(workplace, words, told):
    require_refusal(run_together(words), 2, told)


def test_processes_with_other_data_are_refused(shared_command):
    shutil.copytree("data", "elsewhere/data")
    for file in Path("elsewhere/data").rglob("*.csv"):
        file.write_text(file.read_text().replace("?", "??"))
    words = shared_command("evaluate", "intervention=none", run="several")
    ended = run_together(words, before=lambda number: number and os.chdir("elsewhere"))
    require_refusal(ended, 1, "the processes of this run differ in what this run is made of")


def test_processes_with_other_settings_are_refused(shared_command):
    words = shared_command("evaluate", "intervention=none", run="several")

    def train_on_more(number):
        if number:
            words.append("seed=7")

    require_refusal(run_together(words, before=train_on_more), 1, "differ in their settings")


def test_a_misspelt_key_is_told_once(shared_command):
    leader, other = run_together([*shared_command("evaluate", "intervention=none", run="several"), "sede=1"])
    assert {leader.exit_code, other.exit_code} <= {2, 130, -15}
    assert "did you mean 'seed'" in leader.said
    assert "sede" not in other.said


def test_only_one_process_keeps_checkpoints(shared_command, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    words = shared_command("train-offsets", "head_mask=heads.json", "trainer.checkpoint_every=1", run="several")
    kept = []

    def before(number):
        add = RunDir.append_line

        def append_line(self, name, content):
            add(self, name, content)
            kept.append([*tmp_path.glob("lofit-*/checkpoints/*"), *tmp_path.glob("lofit-*/intervention.safetensors")])
            assert not any(kept)

        RunDir.append_line = append_line

    assert [ended.exit_code for ended in run_together(words, before=before)] == [0, 0]
    assert not list(tmp_path.glob("lofit-*"))


def test_who_waits_for_others_in_vain_can_be_stopped(shared_command):
    surroundings = os.environ | {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29871"}
    words = [sys.executable, "-m", "lofit_cli", *shared_command("evaluate", "intervention=none", run="several")]
    with subprocess.Popen(words, env=surroundings, stderr=subprocess.PIPE, text=True) as waiting:
        assert waiting.stderr.readline() == "waiting for all 2 processes of this run to meet at 127.0.0.1:29871\n"
        waiting.send_signal(signal.SIGTERM)
        assert "interrupted" in waiting.stderr.read()
        assert waiting.wait(timeout=60) == 130


@pytest.mark.parametrize(
    "stray",
    [{"RANK": "5", "WORLD_SIZE": "2"}, {"RANK": "0", "WORLD_SIZE": "0"}, {"RANK": "x", "WORLD_SIZE": "two"}],
    ids=["too large", "none", "words"],
)
def test_what_no_launcher_says_is_passed_over(lofit, monkeypatch, stray):
    for name, value in (stray | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}).items():
        monkeypatch.setenv(name, value)
    assert lofit("evaluate", "intervention=none").exit_code == 0


def test_processes_that_can_not_meet_say_so(shared_command):
    def lose(number):
        os.environ["MASTER_PORT"] = "no port"

    require_refusal(
        run_together(shared_command("evaluate", run="several"), before=lose), 1, "could not meet at 127.0.0.1:no port"
    )


def test_who_computes_a_split_model_says_so_where_another_process_has_gone(shared_command):
    def before(number):
        # The others are not stopped, as they may be on another machine, so that they tell what they see.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        move = Descent.move
        Descent.move = lambda self: os._exit(9) if number else move(self)

    words = shared_command("train-offsets", "head_mask=heads.json", "model.tp=auto", run="several")
    leader, other = run_together(words, before=before)
    assert (leader.exit_code, other.exit_code) == (1, 9)
    assert "another process of this run can't be reached" in leader.said
    assert "Traceback" not in leader.said
