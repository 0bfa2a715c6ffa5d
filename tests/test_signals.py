"""Signals that ask a command to stop."""

import os
import signal

import pytest

from lofit_cli.signals import in_one_piece, stopped_by_signals


def ask():
    os.kill(os.getpid(), signal.SIGINT)


def work(done, fail=False):
    with in_one_piece():
        ask()
        done.append("first")
        ask()
        done.append("second")
        assert not fail
    done.append("after")


def test_what_must_not_be_cut_in_two_ends_before_the_command_does():
    done = []
    with stopped_by_signals() as asked, pytest.raises(KeyboardInterrupt):
        work(done)
    assert done == ["first", "second"]
    assert len(asked) == 2


def test_an_error_in_one_piece_is_the_one_that_is_told():
    with stopped_by_signals(), pytest.raises(AssertionError):
        work([], fail=True)


def test_elsewhere_a_command_stops_at_once():
    with stopped_by_signals(), pytest.raises(KeyboardInterrupt):
        ask()
