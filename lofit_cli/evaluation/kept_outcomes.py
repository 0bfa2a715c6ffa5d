"""Outcomes that outlast their process, written down as they come in."""

from collections.abc import Sequence

from lofit_cli.artifacts.leftovers import OUTCOMES
from lofit_cli.artifacts.outcomes import Outcome, Outcomes, read, written
from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.processes import led


class KeptOutcomes(Outcomes):
    """Outcomes that outlast their process, in `outcomes.jsonl`: those of a run that was cut off are known at once."""

    def __init__(self, run: RunDir) -> None:
        super().__init__()
        self._run = run
        lines = led(lambda: run.read_lines(OUTCOMES))
        for line in lines:
            self.known.update(zip(line["items"], map(read, line["outcomes"]), strict=True))
        if lines:
            run.continue_lines(OUTCOMES, lines)

    def add(self, numbers: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        """Take in what one forward pass has given, and write it down."""
        super().add(numbers, outcomes)
        self._run.append_line(OUTCOMES, {"items": list(numbers), "outcomes": [written(found) for found in outcomes]})
