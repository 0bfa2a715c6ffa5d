"""What a person sees while a stage runs, and what becomes of it when nobody can see it."""

import io
import os
import subprocess
import sys

import pytest
from synthetic_runs import METHODS, write_run
from typer.testing import CliRunner

from lofit_cli import console
from lofit_cli.cli import app
from lofit_cli.console import Terminal, progress_bar, say

WORK = """
from lofit_cli.console import progress_bar, say
from lofit_cli.report.tables import Column, Table, show_table
with progress_bar("scoring", 3) as advance:
    for i in range(3):
        advance(1, "loss [/x]")
        say("note: \\x1b[2J \\ud800 中")
show_table(Table("中", [Column("run")], [["…"]] * 400))
open("done", "w").close()
"""


def work(folder, redirections, **environment):
    """Run the work in a shell; return what it printed, once it has reached its end."""
    (folder / "work.py").write_text(WORK, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    command = ["bash", "-c", f"set -o pipefail; {sys.executable} work.py {redirections}"]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=60, check=False)
    assert (folder / "done").exists(), result.stderr
    return result


@pytest.mark.parametrize("lost", ["2>&-", "2>/dev/full", "2> >(true)", "1>&-", "| head -1", "2>file", "&>/dev/null"])
def test_a_stage_ends_well_whoever_reads(lost, tmp_path):
    result = work(tmp_path, lost)
    assert result.returncode == 0
    assert b"Error" not in result.stderr + result.stdout


def test_results_that_do_not_fit_on_the_disk_are_said(tmp_path):
    assert b"not all results could be printed (No space left on device)" in work(tmp_path, ">/dev/full").stderr


@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}],
)
def test_a_terminal_that_knows_ascii_only(environment, tmp_path):
    result = work(tmp_path, "", **environment)
    assert result.returncode == 0
    assert result.stdout.isascii()
    assert b"\\u4e2d" in result.stdout
    assert b"+---" in result.stdout
    assert b"note: \\x1b[2J \\ud800 \\u4e2d" in result.stderr


def test_without_a_terminal_a_line_says_now_and_then_how_far_it_is(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(console, "console", Terminal(file=log, width=80))
    clock = iter([0, 30, 70, 70, 80])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    with progress_bar("scoring [/x]", 4) as advance:
        for _ in range(3):
            advance(1, "loss 2")
        lines = log.getvalue().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("scoring [/x]: 2 of 4")
    assert lines[0].endswith("loss 2")


@pytest.mark.parametrize(
    ("width", "shown"), [(20, ("1/4", "left")), (80, ("1/4", "left", "scoring [/x]", "loss [b] 2"))]
)
def test_the_bar_says_how_far_it_is_and_what_is_left_in_any_width(width, shown, monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(console, "console", Terminal(file=screen, width=width, force_terminal=True, color_system=None))
    with progress_bar("scoring [/x]", 4) as advance:
        advance(1, "loss [b] 2")
        console.console.print()
        say("note: [/x] \x1b[2J")
    assert all(word in screen.getvalue() for word in shown)
    assert r"note: [/x] \x1b[2J" in screen.getvalue()


def lofit(folder, *arguments, **environment):
    command = [sys.executable, "-m", "lofit_cli.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=120, check=False)


def test_an_error_shows_what_was_typed_and_no_more(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["compare", "runs=['a\x1b[31mb\u202ec']"])
    assert result.exit_code == 2
    assert r"a\x1b[31mb\u202ec matches nothing;" in result.stderr


def test_a_comparison_in_a_locale_of_ascii(tmp_path):
    for number in (0, 1):
        write_run(tmp_path / f"läufe/{number}", "clutrr", 0, 1, METHODS[number], num_questions=20, model="中·é")
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    result = lofit(tmp_path, "compare", "runs=['l*']", "hydra.run.dir=out", "num_resamples=100", **plain)
    assert result.returncode == 0, result.stderr
    assert result.stdout.isascii()
    for name in ("comparison.md", "comparison.csv", "report.html"):
        assert "中·é" in (tmp_path / "out" / name).read_text(encoding="utf-8")
    shown = lofit(tmp_path, "evaluate", "--cfg", "model=hub", "model.id=中", PYTHONIOENCODING="ascii")
    assert rb"id: \u4e2d" in shown.stdout
