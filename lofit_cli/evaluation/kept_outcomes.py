"""Outcomes that outlast their process, written down as they come in."""

from collections.abc import Iterator, Sequence
from typing import Any

from lofit_cli.artifacts.files import CHECKSUM, content_hash
from lofit_cli.artifacts.leftovers import OUTCOMES
from lofit_cli.artifacts.outcomes import Outcome, Outcomes
from lofit_cli.artifacts.predictions import LogProb
from lofit_cli.artifacts.run_dir import RunDir


class KeptOutcomes(Outcomes):
    """Outcomes that outlast their process, in `outcomes.jsonl`: those of a run that was cut off are known at once.

    Each line has a checksum of itself and of what the run is made of. The first one that has another, because it was
    cut off, changed or is another run's, ends what is known.
    """

    def __init__(self, run: RunDir) -> None:
        super().__init__()
        self._run = run
        lines = list(self._sound_lines())
        if lines:
            run.continue_lines(OUTCOMES, lines)

    def add(self, numbers: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        """Take in what one forward pass has given, and write it down."""
        super().add(numbers, outcomes)
        line = {"items": list(numbers), "outcomes": [_written(found) for found in outcomes]}
        self._run.append_line(OUTCOMES, {**line, CHECKSUM: self._checksum(line)})

    def _sound_lines(self) -> Iterator[dict[str, Any]]:
        """Take in the lines that are there, and yield them."""
        for line in self._run.read_lines(OUTCOMES):
            if line.pop(CHECKSUM, None) != self._checksum(line):
                return
            try:
                super().add([int(number) for number in line["items"]], [_read(found) for found in line["outcomes"]])
            except (KeyError, TypeError, ValueError):
                return
            yield {**line, CHECKSUM: self._checksum(line)}

    def _checksum(self, line: dict[str, Any]) -> str:
        return content_hash([self._run.facts.get("content_key"), line])[:16]


def _written(outcome: Outcome) -> Any:
    return outcome if isinstance(outcome, str) else [[float(value), value.num_tokens] for value in outcome]


def _read(written: Any) -> Outcome:
    return written if isinstance(written, str) else [LogProb(*pair) for pair in written]
