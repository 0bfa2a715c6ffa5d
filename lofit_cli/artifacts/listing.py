"""All runs under a folder, finished or not, as far as their files tell of them; nothing damaged ends the list."""

import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lofit_cli.artifacts.files import read_sealed
from lofit_cli.artifacts.finished_runs import require_unchanged
from lofit_cli.artifacts.leftovers import HYDRA, LOCK, PROGRESS, STARTED, how_it_ended
from lofit_cli.artifacts.locks import is_held
from lofit_cli.artifacts.manifest import FINISHED, MANIFEST
from lofit_cli.errors import UserError

RUNNING, SUPERSEDED = "running", "superseded"
LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class ListedRun:
    """A run directory and what it says of itself; what it does not say, or says in no usable way, is None.

    Attributes:
        status: `finished`, `superseded` by a later run of the same content, `running`, or how it ended.
        began_or_ended: when it ended, or began if it has not.
        num_bytes: of all its files.
    """

    path: Path
    status: str
    stage: str | None
    task: str | None
    method: str | None
    model: str | None
    content_key: str | None
    began_or_ended: datetime | None
    num_bytes: int
    content: Mapping[str, Any]

    @property
    def can_go_on(self) -> bool:
        """Return whether it has kept something to go on from."""
        return any((self.path / name).exists() for name in PROGRESS)


def find_runs(runs_dir: Path) -> list[ListedRun]:
    """Return the runs under a folder, the newest last.

    Raises:
        UserError: there is no such folder.
    """
    if not runs_dir.is_dir():
        raise UserError(f"runs_dir={runs_dir} is not a folder; name the one that the runs are in")
    found = [_read(folder) for folder in sorted(_run_folders(runs_dir))]
    return _superseded(
        sorted(found, key=lambda run: (run.began_or_ended or datetime.min.replace(tzinfo=UTC), run.path))
    )


def finished_settings(runs_dir: Path, stage: str) -> set[str]:
    """Return the hashes of the settings of all finished runs of a stage under a folder."""
    runs = find_runs(runs_dir) if runs_dir.is_dir() else []
    hashes = {
        run.content.get("config_hash") for run in runs if run.status in (FINISHED, SUPERSEDED) and run.stage == stage
    }
    return {found for found in hashes if isinstance(found, str)}


def _run_folders(runs_dir: Path) -> Iterator[Path]:
    """Yield the folders that a run has been in."""
    marks = {MANIFEST, STARTED, HYDRA}
    for folder, folders, files in os.walk(runs_dir):
        if marks & {*folders, *files}:
            yield Path(folder)


def _read(folder: Path) -> ListedRun:
    content = _content(folder)
    status = how_it_ended(folder)
    if status != FINISHED and is_held(folder / LOCK):
        status = RUNNING
    when = content.get("ended_at") if status == FINISHED else content.get("started_at") or content.get("ended_at")
    texts = {name: _text(content, name) for name in ("stage", "task", "method", "model", "content_key")}
    size = sum(map(_size, folder.rglob("*")))
    return ListedRun(folder, status, began_or_ended=_time(when), num_bytes=size, content=content, **texts)


def _size(path: Path) -> int:
    """Return the bytes of a file; none of what is no file, or is gone by now, as those that a run is writing are."""
    try:
        found = path.lstat()
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _content(folder: Path) -> dict[str, Any]:
    """Return what a run says of itself: in its manifest, and where it has none in what it began with."""
    return read_sealed(folder / MANIFEST) or read_sealed(folder / STARTED)


def _text(content: Mapping[str, Any], name: str) -> str | None:
    value = content.get(name)
    return value if isinstance(value, str) else None


def _time(written: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(written)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _superseded(runs: Sequence[ListedRun]) -> list[ListedRun]:
    """Mark what another finished run of the same content stands for, unless a third one is built on it."""
    times = Counter(run.content_key for run in runs)
    newest = {run.content_key: run.path for run in runs if run.content_key and _can_stand(run, times[run.content_key])}
    used = {Path(str(run.content.get(name))) for run in runs for name in ("intervention", "head_mask", "copied_from")}
    used |= {path.parent for path in used}
    return [
        replace(run, status=SUPERSEDED)
        if run.status != RUNNING and newest.get(str(run.content_key), run.path) != run.path and run.path not in used
        else run
        for run in runs
    ]


def _can_stand(run: ListedRun, number: int) -> bool:
    """Return whether a run is finished and, where there are several of its content, still as it was written."""
    if run.status != FINISHED or number == 1:
        return run.status == FINISHED
    try:
        require_unchanged(run.path)
        return True
    except UserError:
        return False
