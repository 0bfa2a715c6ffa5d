"""The command line itself: help, version, printed configs, and how fast it answers."""

import subprocess
import sys

from typer.testing import CliRunner

import lofit_cli
from lofit_cli.cli import app

STAGES = ("select-heads", "train-offsets", "evaluate", "compare", "describe", "export")


def invoke(*arguments):
    return CliRunner().invoke(app, list(arguments))


def test_version():
    assert invoke("--version").output == f"lofit {lofit_cli.__version__}\n"


def test_help_lists_the_stages_and_each_shows_an_example():
    listed = invoke("--help").output
    for stage in STAGES:
        assert stage in listed
        assert f"Example: lofit {stage}" in " ".join(invoke(stage, "--help").output.split()), stage


def test_cfg_prints_the_config_and_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke("select-heads", "--cfg", "seed=7")
    assert result.exit_code == 0
    assert "seed: 7" in result.output
    assert not list(tmp_path.iterdir())


def test_unknown_command_is_a_usage_error():
    assert invoke("select-head").exit_code == 2


def test_help_imports_nothing_heavy():
    code = "import sys, lofit_cli.cli; print([m for m in ('torch', 'transformers', 'hydra') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_comparing_needs_no_torch():
    code = "import sys, lofit_cli.hydra_app, lofit_cli.stages.compare; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


def test_an_interrupt_while_starting_ends_in_one_line():
    start = (
        "import os, signal, threading; from lofit_cli.__main__ import main; "
        "threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start(); main()"
    )
    ended = subprocess.run([sys.executable, "-c", start, "compare"], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (130, "lofit: interrupted\n")
