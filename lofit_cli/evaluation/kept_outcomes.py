"""Outcomes that outlast their process, written down as they come in."""

from collections.abc import Iterator, Sequence
from typing import Any

from lofit_cli.artifacts.files import CHECKSUM, content_hash
from lofit_cli.artifacts.leftovers import OUTCOMES
from lofit_cli.artifacts.outcomes import Outcome, Outcomes, read, written
from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.sharing import led


class KeptOutcomes(Outcomes):
    """Outcomes that outlast their process, in `outcomes.jsonl`: those of a run that was cut off are known at once.

    Each line has a checksum of itself and of what the run is made of. The first one that has another, because it was
    cut off, changed or is another run's, ends what is known.
    """

    def __init__(self, run: RunDir) -> None:
        super().__init__()
        self._run = run
        lines = led(lambda: list(self._sound_lines()))
        for line in lines:
            super().add(*_read_line(line))
        if lines:
            run.continue_lines(OUTCOMES, lines)

    def add(self, numbers: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        """Take in what one forward pass has given, and write it down."""
        super().add(numbers, outcomes)
        line = {"items": list(numbers), "outcomes": [written(found) for found in outcomes]}
        self._run.append_line(OUTCOMES, {**line, CHECKSUM: self._checksum(line)})

    def _sound_lines(self) -> Iterator[dict[str, Any]]:
        """Yield the lines that are there, up to the first that is not as it was written."""
        for line in self._run.read_lines(OUTCOMES):
            try:
                _read_line(line)
            except (KeyError, TypeError, ValueError):
                return
            if line.get(CHECKSUM) != self._checksum(line):
                return
            yield line

    def _checksum(self, line: dict[str, Any]) -> str:
        return content_hash([self._run.facts.get("content_key"), line["items"], line["outcomes"]])[:16]


def _read_line(line: dict[str, Any]) -> tuple[list[int], list[Outcome]]:
    return [int(number) for number in line["items"]], [read(found) for found in line["outcomes"]]
