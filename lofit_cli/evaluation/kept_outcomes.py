"""Outcomes that outlast their process, written down as they come in."""

from collections.abc import Sequence
from typing import Any

from lofit_cli.artifacts.leftovers import OUTCOMES
from lofit_cli.artifacts.outcomes import Outcome, Outcomes
from lofit_cli.artifacts.predictions import LogProb
from lofit_cli.artifacts.run_dir import RunDir


class KeptOutcomes(Outcomes):
    """Outcomes that outlast their process, in `outcomes.jsonl`: those of a run that was cut off are known at once."""

    def __init__(self, run: RunDir) -> None:
        super().__init__()
        self._run = run
        lines = run.read_lines(OUTCOMES)
        for line in lines:
            self.known.update(zip(line["items"], map(_read, line["outcomes"]), strict=True))
        if lines:
            run.continue_lines(OUTCOMES, lines)

    def add(self, numbers: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        """Take in what one forward pass has given, and write it down."""
        super().add(numbers, outcomes)
        self._run.append_line(OUTCOMES, {"items": list(numbers), "outcomes": [_written(found) for found in outcomes]})


def _written(outcome: Outcome) -> Any:
    return outcome if isinstance(outcome, str) else [[float(value), value.num_tokens] for value in outcome]


def _read(written: Any) -> Outcome:
    return written if isinstance(written, str) else [LogProb(*pair) for pair in written]
