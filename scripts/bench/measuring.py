"""What a row of the benchmark is made of, and how its two sides are timed by turns."""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

TOLERANCE = 1e-4
"""Nats a token, or nats of a loss, by which two ways of computing the same may differ in float32."""


@dataclass
class Measured:
    """One run of one side.

    Attributes:
        seconds: what the job took; preparing it is not part of it.
        values: what both sides must find alike, empty where they have nothing in common.
        parts: seconds of parts of the job, and other seconds worth knowing, by name.
    """

    seconds: float
    values: Sequence[float] = ()
    parts: dict[str, float] = field(default_factory=dict)


Side = Callable[[], Measured]


@dataclass(frozen=True)
class Pass:
    """The largest forward pass of a job, from which its memory follows.

    Attributes:
        tokens: how many the pass computes, padding among them.
        keys: how many each of them may attend to under a mask that exists as a whole; 0 where there is none.
        logits: how many tokens have logits.
        layers: of how many layers activations are kept for the way back; 0 without gradient.
        cached: of how many tokens keys and values are kept beside it.
    """

    tokens: int
    keys: int
    logits: int
    layers: int = 0
    cached: int = 0


@dataclass(frozen=True)
class Row:
    """A job that two sides do.

    Attributes:
        goal: the ratio to reach: of the peer's time to ours, at least; for a `share`, of our time to the other's, at
            most. None where there is no goal for this dtype.
        tokens: of all prompts with their answers, each written out whole, which the job comes to in the plainest way.
        passes: the largest forward pass of `ours` and of `peer`.
        needed: operations without which the job can't be done; None where that was not counted.
        later: returns how long a later run takes for what this one had to compute first; no part of `ours`.
        about: what else is said of the row in bench.json.
    """

    name: str
    title: str
    ours: Side
    peer: Side
    tokens: int
    goal: float | None
    is_share: bool = False
    passes: dict[str, Pass] = field(default_factory=dict)
    needed: float | None = None
    later: Callable[[], float] | None = None
    about: dict[str, Any] = field(default_factory=dict)

    def ratio(self, ours: float, peer: float) -> float:
        """Return the row's ratio of two times."""
        return ours / peer if self.is_share else peer / ours

    def reaches(self, ratio: float) -> bool | None:
        """Return whether a ratio is as good as the goal; None without one."""
        if self.goal is None:
            return None
        return ratio <= self.goal if self.is_share else ratio >= self.goal


class Stopwatch:
    """Seconds since the block began, and in all once it has ended."""

    def __init__(self) -> None:
        self.start, self.seconds = time.perf_counter(), math.nan


Instrument = Callable[[], AbstractContextManager[None]]
_instrument: ContextVar[Instrument] = ContextVar("instrument", default=nullcontext)


@contextmanager
def watched_by(instrument: Instrument) -> Iterator[None]:
    """Let an instrument see what every stopwatch of the block times."""
    token = _instrument.set(instrument)
    try:
        yield
    finally:
        _instrument.reset(token)


@contextmanager
def stopwatch() -> Iterator[Stopwatch]:
    """Time a `with` block."""
    with _instrument.get()():
        watch = Stopwatch()
        yield watch
        watch.seconds = time.perf_counter() - watch.start


def time_row(row: Row, dtype: str, repeats: int, advance: Callable[[int, str], None]) -> dict[str, Any]:
    """Run both sides by turns, and return what bench.json says of the row."""
    pairs = []
    for _ in range(repeats):
        ours = row.ours()
        if row.later:
            ours.parts["later_reference"] = row.later()
        advance(1, f"{row.name} {dtype}: {ours.seconds:.2f} s")
        peer = row.peer()
        advance(1, f"{row.name} {dtype}: {ours.seconds:.2f} s and {peer.seconds:.2f} s")
        pairs.append((ours, peer))
    ratios = [row.ratio(ours.seconds, peer.seconds) for ours, peer in pairs]
    gaps = [abs(a - b) for ours, peer in pairs for a, b in zip(ours.values, peer.values, strict=True)]
    return {
        "row": row.name,
        "title": row.title,
        "dtype": dtype,
        "ratio_of": "ours / peer" if row.is_share else "peer / ours",
        **_spread(ratios),
        "ratios_without_reference": [
            peer.seconds / ours.parts["steps"] for ours, peer in pairs if "steps" in ours.parts
        ],
        "goal": row.goal,
        "reaches_goal": row.reaches(statistics.median(ratios)),
        "tokens": row.tokens,
        "needed_flops": row.needed,
        "ours_tokens_per_second": row.tokens / statistics.median(ours.seconds for ours, _ in pairs),
        **{f"{side}_seconds": [one.seconds for one in found] for side, found in _sides(pairs)},
        **{f"{side}_parts": [one.parts for one in found] for side, found in _sides(pairs)},
        "largest_gap": max(gaps, default=None),
        "agrees": _agree(gaps, dtype),
        **row.about,
    }


def _spread(ratios: list[float]) -> dict[str, Any]:
    return {"ratio": statistics.median(ratios), "ratio_range": [min(ratios), max(ratios)], "ratios": ratios}


def _sides(pairs: list[tuple[Measured, Measured]]) -> Iterator[tuple[str, list[Measured]]]:
    yield "ours", [ours for ours, _ in pairs]
    yield "peer", [peer for _, peer in pairs]


def _agree(gaps: list[float], dtype: str) -> bool | None:
    """Return whether both sides found the same; half precision rounds, so there the gap is shown and no more."""
    if not gaps or dtype != "float32":
        return None
    # A value that is no number is as far from every other one as can be.
    return all(gap <= TOLERANCE for gap in gaps)
