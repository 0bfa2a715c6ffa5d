"""How the points of a sweep ended, whichever process ran them."""

import json
from dataclasses import dataclass
from pathlib import Path

from lofit_cli.errors import RunError, UserError


@dataclass(frozen=True)
class Outcomes:
    """How the points of a sweep ended, in a file, because some launchers run them in other processes."""

    file: Path

    def add(self, run_dir: Path, error: UserError | None = None) -> None:
        """Note that a point has finished or failed."""
        line = {"run_dir": str(run_dir), "exit_code": error.exit_code if error else 0, "message": str(error or "")}
        with self.file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(line) + "\n")

    def require_success(self, num_points: int) -> list[Path]:
        """Return the run directories; raise the first failure, or say how many points have not ended at all."""
        text = self.file.read_text(encoding="utf-8") if self.file.exists() else ""
        ended = [json.loads(line) for line in text.splitlines()]
        for line in ended:
            if line["exit_code"]:
                raise (RunError if line["exit_code"] == RunError.exit_code else UserError)(line["message"])
        if len(ended) < num_points:
            raise RunError(f"{num_points - len(ended)} of {num_points} points did not end; run them without a launcher")
        return [Path(line["run_dir"]) for line in ended]
