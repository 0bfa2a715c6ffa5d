"""What a run, or each point of a sweep, would take."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Part:
    """A part of a run's work.

    Attributes:
        num_tokens: how many tokens the model is given in all of it, a prompt counted with each of its answers.
        seconds: about how long all of it takes; None where that is not known without the weights.
    """

    name: str
    num_tokens: int | None
    seconds: float | None


@dataclass(frozen=True)
class Plan:
    """What a run would do, and take.

    Attributes:
        num_items: the items that are trained on or measured, each counted once.
        num_steps: steps of training, in all epochs.
        num_tokens: what these items' sequences have, in all epochs; None where that is not known.
        num_trained_parameters: None where it is not known.
        memory: `memory` or `GPU memory` -> its peak in bytes.
        notes: what the figures leave out.
    """

    num_items: int
    num_steps: int
    num_tokens: int | None
    num_trained_parameters: int | None
    parts: tuple[Part, ...]
    memory: dict[str, int]
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float | None:
        """Return how long the parts take together; None where that is not known of one of them."""
        found = [part.seconds for part in self.parts if part.seconds is not None]
        return sum(found) if len(found) == len(self.parts) else None


@dataclass(frozen=True)
class Point:
    """A point of a sweep: what was typed for it, and the settings that this gives.

    Attributes:
        is_done: whether a finished run has these settings.
    """

    overrides: tuple[str, ...]
    settings: Any
    is_done: bool = False


def mark_done(points: Sequence[Point], is_done: Callable[[Any], bool]) -> list[Point]:
    """Return the points, each told whether it is done, so that its plan is left out and it is counted as done.

    Args:
        is_done: takes a point's settings.
    """
    return [replace(point, is_done=is_done(point.settings)) for point in points]
