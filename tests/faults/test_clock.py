"""A clock that stands, goes back or is years ahead: nothing is lost or overwritten, and no age is negative."""

import json
import os
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fault_stages import content
from stage_runs import lines, manifest, ok

from lofit_cli.artifacts.leftovers import make_way
from lofit_cli.artifacts.run_dir import start_run
from lofit_cli.console import progress_bar
from lofit_cli.schema.stages import CompareConfig

START = datetime(2026, 6, 1, 12, tzinfo=UTC)
DATED = ("artifacts.leftovers", "artifacts.run_dir", "artifacts.reuse", "artifacts.finished_runs", "stages.runs")


@pytest.fixture
def clock(monkeypatch):
    """Set what the clock says: each time it is asked, so much later than before."""

    def set_clock(at, step=timedelta(0)):
        class Clock(datetime):
            asked = 0

            @classmethod
            def now(cls, tz=None):
                Clock.asked += 1
                return at + Clock.asked * step

        for name in DATED:
            monkeypatch.setattr(f"lofit_cli.{name}.datetime", Clock)
        monkeypatch.setattr("time.time", lambda: at.timestamp())

    return set_clock


def fail_in(folder, mark):
    """Leave a failed run, and make way for another one."""
    with suppress(ZeroDivisionError), start_run(folder, "compare", CompareConfig()) as run:
        run.append_line("history.jsonl", {"mark": mark})
        raise ZeroDivisionError
    make_way(folder, "compare", CompareConfig(seed=1))


@pytest.mark.parametrize("step", [timedelta(0), timedelta(seconds=-1)])
def test_what_is_moved_aside_keeps_its_own_place(tmp_path, clock, step):
    clock(START, step)
    for mark in range(3):
        fail_in(tmp_path / "x", mark)
        clock(START, step)
    aside = sorted(tmp_path.glob("x.failed-*"))
    assert sorted(line["mark"] for folder in aside for line in lines(folder / "history.jsonl")) == [0, 1, 2]


def test_a_run_under_a_clock_that_goes_back_ends_with_the_same_bytes(lofit, clock):
    command = ("train-offsets", "method=bitfit", "trainer.num_epochs=2", "trainer.batch_size=4")
    ok(lofit(*command, "runs_dir=whole", "hydra.run.dir=whole/x"))
    clock(START, timedelta(hours=-1))
    ok(lofit(*command, "hydra.run.dir=runs/x"))
    assert content(Path("runs/x")) == content(Path("whole/x"))
    assert manifest("runs/x")["wall_seconds"] >= 0
    assert "already finished" in ok(lofit(*command, "hydra.run.dir=runs/x")).stderr


def test_no_run_is_younger_than_now(lofit, clock):
    clock(START + timedelta(days=9000))
    ok(lofit("evaluate", "intervention=none", "hydra.run.dir=runs/evaluate/x"))
    os.utime("runs/evaluate/x/manifest.json", (0, 0))
    clock(START)
    assert "finished just now" in ok(lofit("runs")).stdout
    (listed,) = json.loads(ok(lofit("runs", "--json")).stdout)
    assert listed["time"].startswith("2051")


def test_latest_says_so_where_it_is_of_the_future(lofit, clock):
    selected = ("select-heads", "selector=random", "num_heads=2")
    clock(START + timedelta(days=400))
    ok(lofit(*selected, "hydra.run.dir=runs/select_heads/ahead"))
    clock(START)
    ok(lofit(*selected, "force=true", "hydra.run.dir=runs/select_heads/now"))
    said = " ".join(ok(lofit("train-offsets", "trainer.num_epochs=1")).stderr.split())
    assert "note: by this machine's clock runs/select_heads/ahead is of the future (2027" in said
    assert "head_mask=latest: taking runs/select_heads/ahead" in said


def test_runs_that_the_clock_gives_one_name_are_kept_apart(lofit, monkeypatch):
    class Standing(datetime):
        @classmethod
        def now(cls, tz=None):
            return START

    monkeypatch.setattr("omegaconf.OmegaConf.resolve", lambda config: None)
    monkeypatch.setattr("hydra.core.utils.datetime", Standing)
    ok(lofit("select-heads", "selector=random", "seed=1"))
    before = {path: path.read_bytes() for path in Path("runs").rglob("*.safetensors")}
    second = lofit("select-heads", "selector=random", "seed=2")
    assert all(path.read_bytes() == found for path, found in before.items())
    assert (second.exit_code, "already holds a finished run; choose another" in second.stderr) == (2, True)


def test_a_progress_bar_outlasts_any_clock(clock):
    clock(START, timedelta(days=-1))
    with progress_bar("x", 3) as advance:
        for _ in range(3):
            advance(1)
