"""Doing a small part of a run's own work, to see how long all of it takes and how much memory."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from lofit_cli.artifacts.provenance import peak_memory
from lofit_cli.console import console

ENOUGH_SECONDS = 4.0
"""How long a sample is worked on: more than what starting takes, less than anybody minds."""
LARGEST_STRIDE = 8
MEMORY_NAMES = {"peak_memory_bytes": "memory", "peak_gpu_memory_bytes": "GPU memory"}

Any_ = TypeVar("Any_")


def seconds_for_all(work: Callable[[int], float], total: int, start: int) -> float:
    """Return how long work on all units takes, from a sample that grows until it takes long enough.

    Args:
        work: does as many units as it is told and returns what share of all the work that was.
        total: how many units there are.
        start: how many units are begun with.
    """
    size = min(start, total)
    while True:
        began = time.perf_counter()
        share = work(size)
        seconds = time.perf_counter() - began
        if size == total or seconds >= ENOUGH_SECONDS:
            return seconds / share
        size = min(total, size * min(LARGEST_STRIDE, max(2, math.ceil(ENOUGH_SECONDS / max(seconds, 1e-3)))))


def spread(units: Sequence[Any_], size: int) -> list[Any_]:
    """Return so many of the units, evenly spaced, since long ones often stand together."""
    return [units[index * len(units) // size] for index in range(size)]


@contextmanager
def silent() -> Iterator[None]:
    """Show no progress bars and notes of work that is a sample only."""
    before, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = before


def peak(num_more: int = 0, on_gpu: bool = False) -> dict[str, int]:
    """Return the peaks of memory so far in bytes, with what is known to come where the model is."""
    found = {MEMORY_NAMES[name]: size for name, size in peak_memory().items()}
    place = "GPU memory" if on_gpu else "memory"
    return {name: size + num_more * (name == place) for name, size in found.items()}
