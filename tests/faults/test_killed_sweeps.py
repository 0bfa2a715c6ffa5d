"""A sweep that was killed leaves nothing that the next one doesn't remove, and a living one keeps what is its own."""

import os
import signal
import time
from pathlib import Path

from children import end, in_child, invoke, start
from stage_runs import ok

from lofit_cli.hydra_outcomes import outcomes_in

SWEEP = ("select-heads", "-m", "selector=random", "num_heads=2", "seed=1,2")


def folders():
    return sorted(Path("runs/select_heads").glob(".outcomes-*"))


def hold():
    with outcomes_in(Path("runs/select_heads")):
        time.sleep(600)


def test_what_a_killed_sweep_left_is_removed_and_what_a_living_one_has_is_not(lofit):
    killed, living = start(hold), start(hold)
    while sum((folder / ".lock").exists() for folder in folders()) < 2:
        time.sleep(0.01)
    time.sleep(0.5)
    os.kill(killed[0], signal.SIGKILL)
    assert end(killed) is None
    ok(lofit(*SWEEP))
    (left,) = folders()
    os.kill(living[0], signal.SIGKILL)
    assert end(living) is None
    assert "already finished" in ok(lofit(*SWEEP)).stderr
    assert not left.exists()
    assert not folders()


def test_a_sweep_leaves_no_folder_of_its_own(lofit):
    ok(lofit(*SWEEP))
    assert not folders()
    assert in_child(invoke, ["runs", "runs_dir=runs"])[0] == 0
