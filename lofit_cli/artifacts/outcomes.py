"""What has been measured so far, kept as it comes in, so that an item that was measured is never measured again."""

from collections.abc import Iterable, Sequence
from typing import Any

from lofit_cli.artifacts.predictions import LogProb
from lofit_cli.artifacts.run_dir import RunDir

FILE_NAME = "outcomes.jsonl"

Outcome = list[LogProb] | str
"""The log-probabilities of an item's answers, or the text that was generated for it."""


class Outcomes:
    """The outcomes of items, by the items' numbers."""

    def __init__(self) -> None:
        self.known: dict[int, Any] = {}

    def lacks(self, numbers: Iterable[int]) -> bool:
        """Return whether an outcome is missing; items that share a forward pass are computed together or not at all."""
        return any(number not in self.known for number in numbers)

    def add(self, numbers: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        """Take in what one forward pass has given."""
        self.known.update(zip(numbers, outcomes, strict=True))

    def in_order(self) -> list[Any]:
        """Return all outcomes by their items' numbers."""
        return [self.known[number] for number in sorted(self.known)]


class KeptOutcomes(Outcomes):
    """Outcomes that outlast their process, in `outcomes.jsonl`: those of a run that was cut off are known at once."""

    def __init__(self, run: RunDir) -> None:
        super().__init__()
        self._run = run
        lines = run.read_lines(FILE_NAME)
        for line in lines:
            self.known.update(zip(line["items"], map(_read, line["outcomes"]), strict=True))
        if lines:
            run.continue_lines(FILE_NAME, lines)

    def add(self, numbers: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        """Take in what one forward pass has given, and write it down."""
        super().add(numbers, outcomes)
        self._run.append_line(FILE_NAME, {"items": list(numbers), "outcomes": [_written(found) for found in outcomes]})


def _written(outcome: Outcome) -> Any:
    return outcome if isinstance(outcome, str) else [[float(value), value.num_tokens] for value in outcome]


def _read(written: Any) -> Outcome:
    return written if isinstance(written, str) else [LogProb(*pair) for pair in written]
