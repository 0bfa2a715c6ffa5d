"""What has been measured so far, item by item, so that what was measured is not measured again."""

from collections.abc import Callable, Sequence
from typing import Any

from lofit_cli.artifacts.predictions import LogProb
from lofit_cli.sharing import share_out

Outcome = list[LogProb] | str
"""The log-probabilities of an item's answers, or the text that was generated for it."""


class Outcomes:
    """The outcomes of items, by the items' numbers."""

    def __init__(self) -> None:
        self.known: dict[int, Any] = {}

    def complete(
        self,
        batches: Sequence[Sequence[int]],
        measure: Callable[[Sequence[int]], list[Any] | Callable[[], list[Any]]],
        report: Callable[[int], None],
    ) -> list[Any]:
        """Measure what is missing, and return all outcomes by their items' numbers.

        Args:
            batches: the numbers of the items that share a forward pass; they are measured together or not at all.
            measure: returns the outcomes of a batch, or what fetches them.
            report: called with the number of items done.
        """
        missing = [batch for batch in batches if any(number not in self.known for number in batch)]
        report(sum(map(len, batches)) - sum(map(len, missing)))
        for batch, outcomes in share_out(missing, measure, _write, _read):
            self.add(batch, outcomes)
            report(len(batch))
        return [self.known[number] for number in sorted(self.known)]

    def keep(self, num_items: int, is_fit: Callable[[int, Any], bool]) -> None:
        """Forget what can be no outcome of these items: of a number that none has, or that does not fit its item."""
        for number in list(self.known):
            if not (0 <= number < num_items and is_fit(number, self.known[number])):
                del self.known[number]

    def add(self, numbers: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        """Take in what one forward pass has given."""
        self.known.update(zip(numbers, outcomes, strict=True))


def _write(outcomes: list[Outcome]) -> list[Any]:
    return [written(outcome) for outcome in outcomes]


def _read(outcomes: list[Any]) -> list[Outcome]:
    return [read(outcome) for outcome in outcomes]


def written(outcome: Outcome) -> Any:
    """Return an outcome as JSON holds it."""
    return outcome if isinstance(outcome, str) else [[float(value), value.num_tokens] for value in outcome]


def read(written: Any) -> Outcome:
    """Return the outcome that was written so."""
    return written if isinstance(written, str) else [LogProb(*pair) for pair in written]
