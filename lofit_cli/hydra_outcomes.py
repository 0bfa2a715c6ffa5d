"""How the points of a sweep ended, whichever process ran them."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lofit_cli.artifacts.files import read_json, write_json
from lofit_cli.artifacts.leftovers import LOCK
from lofit_cli.artifacts.locks import is_held, locked
from lofit_cli.errors import RunError, UserError

PREFIX = ".outcomes-"

NUM_NAMED = 5
"""Failed points that the end of a sweep names; of more, it is enough how many there are."""


@dataclass(frozen=True)
class Outcomes:
    """How the points of a sweep ended: a file for each, because a launcher may run them on other machines."""

    folder: Path

    def add(self, number: int, run_dir: Path, error: UserError | None = None) -> None:
        """Note that a point has finished or failed."""
        content = {"run_dir": str(run_dir), "exit_code": error.exit_code if error else 0, "message": str(error or "")}
        # A sweep that began in the same moment as this one may have taken the folder for a killed one's.
        self.folder.mkdir(exist_ok=True)
        write_json(self.folder / f"{number}.json", content)

    def require_success(self, num_points: int) -> list[Path]:
        """Return the run directories; raise what failed, and say how to run only that."""
        files = [self.folder / f"{number}.json" for number in range(num_points)]
        ended = [read_json(file) for file in files if file.exists()]
        failed = [line for line in ended if line["exit_code"]]
        if failed:
            error = RunError if failed[0]["exit_code"] == RunError.exit_code else UserError
            raise error(failed[0]["message"] if num_points == 1 else _describe(failed, num_points))
        if len(ended) < num_points:
            raise RunError(
                f"{num_points - len(ended)} of {num_points} points did not end; the same command runs only these"
            )
        return [Path(line["run_dir"]) for line in ended]


@contextmanager
def outcomes_in(place: Path | None) -> Iterator[Outcomes]:
    """Open a folder for outcomes inside a `with` block, and remove those that killed sweeps have left beside it.

    Args:
        place: where a launcher's workers, on other machines even, can write too; None for this machine's own place.
    """
    if place:
        place.mkdir(parents=True, exist_ok=True)
        _remove_stale(place)
    opened = tempfile.TemporaryDirectory(prefix=PREFIX, dir=place, ignore_cleanup_errors=True)
    with opened as folder, locked(Path(folder) / LOCK, f"{folder} is in use"):
        yield Outcomes(Path(folder).resolve())


def _remove_stale(place: Path) -> None:
    """Remove the folders of sweeps that have ended: they hold no lock any more. One without a lock is being made."""
    for folder in place.glob(f"{PREFIX}*"):
        if (folder / LOCK).exists() and not is_held(folder / LOCK):
            shutil.rmtree(folder, ignore_errors=True)


def _describe(failed: list[dict[str, Any]], num_points: int) -> str:
    """Return which points of a sweep failed; each has been said when it did."""
    places = ", ".join(os.path.relpath(line["run_dir"]) for line in failed[:NUM_NAMED])
    more = f" and {len(failed) - NUM_NAMED} more" if len(failed) > NUM_NAMED else ""
    return (
        f"{len(failed)} of {num_points} points failed ({places}{more}); the first of them: {failed[0]['message']}; "
        "the same command runs only what has not finished"
    )
