"""Signals that ask a command to stop."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_SECONDS = 1.0

_pieces: list[list[float]] = []
"""The blocks under way that are not to be cut in two, and when each was asked to stop."""


@contextmanager
def in_one_piece() -> Iterator[None]:
    """Let a signal that asks a command to stop wait for the end of a `with` block."""
    asked: list[float] = []
    _pieces.append(asked)
    try:
        yield
    finally:
        _pieces.pop()
    if asked:
        raise KeyboardInterrupt


@contextmanager
def stopped_by_signals() -> Iterator[list[float]]:
    """Let Ctrl-C, a job scheduler's SIGTERM and a lost terminal's SIGHUP stop the run; collect when that was asked for.

    Asking again at once changes nothing, so that an impatient second Ctrl-C does not cut off the writing of the state.
    Where nohup has set SIGHUP aside, it stays so.
    """
    asked: list[float] = []

    def stop(number: int, frame: object) -> None:
        asked.append(time.monotonic())
        if _pieces:
            _pieces[-1].append(asked[-1])
        elif len(asked) == 1 or asked[-1] - asked[-2] > PATIENCE_SECONDS:
            raise KeyboardInterrupt

    signals = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    signals = [n for n in signals if n == signal.SIGINT or signal.getsignal(n) != signal.SIG_IGN]
    before = [signal.signal(number, stop) for number in signals]
    try:
        yield asked
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
