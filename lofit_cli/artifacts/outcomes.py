"""What has been measured so far, item by item, so that what was measured is not measured again."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from lofit_cli.artifacts.predictions import LogProb

Outcome = list[LogProb] | str
"""The log-probabilities of an item's answers, or the text that was generated for it."""


class Outcomes:
    """The outcomes of items, by the items' numbers."""

    def __init__(self) -> None:
        self.known: dict[int, Any] = {}

    def keep(self, num_items: int, is_fit: Callable[[int, Any], bool]) -> None:
        """Forget what can be no outcome of these items: of a number that none has, or that does not fit its item."""
        for number in list(self.known):
            if not (0 <= number < num_items and is_fit(number, self.known[number])):
                del self.known[number]

    def lacks(self, numbers: Iterable[int]) -> bool:
        """Return whether an outcome is missing; items that share a forward pass are computed together or not at all."""
        return any(number not in self.known for number in numbers)

    def add(self, numbers: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        """Take in what one forward pass has given."""
        self.known.update(zip(numbers, outcomes, strict=True))

    def in_order(self) -> list[Any]:
        """Return all outcomes by their items' numbers."""
        return [self.known[number] for number in sorted(self.known)]
