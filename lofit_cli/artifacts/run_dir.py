"""Run directories: what a stage leaves behind."""

import hashlib
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lofit_cli.artifacts.files import append_line, sync, write_json
from lofit_cli.artifacts.finished_runs import read_content
from lofit_cli.artifacts.locks import locked
from lofit_cli.artifacts.manifest import FINISHED, FORMAT, MANIFEST, require_facts
from lofit_cli.artifacts.provenance import describe_origin, peak_memory, reset_peak_memory
from lofit_cli.errors import RunError, UserError

SEEN_ITEMS = "seen_items.json"
LOCK = ".lock"
HYDRA = ".hydra"
TRACES = (
    MANIFEST,
    LOCK,
    SEEN_ITEMS,
    "history.jsonl",
    "validation.jsonl",
    "scale.safetensors",
    "head_mask.safetensors",
    "intervention.safetensors",
    "predictions.parquet",
    "metrics.json",
    "comparison.csv",
)
"""What shows that a run has been in a directory, whatever became of it."""
SYNC_SECONDS = 1.0
"""How much of a log a power cut may cost; syncing each line would make short steps wait for the disk."""


@dataclass
class RunDir:
    """A stage's output folder, and the facts that its manifest will state."""

    path: Path
    stage: str
    facts: dict[str, Any] = field(default_factory=dict)
    _synced: dict[str, float] = field(default_factory=dict)

    def has_lines(self, name: str) -> bool:
        """Return whether this run has written to a JSON-lines file."""
        return name in self._synced

    def record(self, **facts: Any) -> None:
        """Add facts to the manifest, each of which has a field in the stage's type of manifest."""
        require_facts(self.stage, facts)
        self.facts.update(facts)

    def record_settings(self, **sections: Mapping[str, Any]) -> None:
        """Add settings that shaped what this run made, to `made_by`: runs that agree in all of them are repeats."""
        flat = {f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()}
        self.facts["made_by"] = {**self.facts.get("made_by", {}), **flat}

    def append_line(self, name: str, content: dict[str, Any]) -> None:
        """Add one line to a JSON-lines file, which is put on the disk once in a while and when the run ends."""
        now = time.monotonic()
        append_line(self.path / name, content, is_first=name not in self._synced)
        if now - self._synced.get(name, -math.inf) >= SYNC_SECONDS:
            sync(self.path / name)
            self._synced[name] = now

    def sync(self) -> None:
        """Put on the disk what was added to files, and the names of all folders that may be new."""
        for name in self._synced:
            with suppress(FileNotFoundError):
                sync(self.path / name)
        for folder in (self.path, *self.path.resolve().parents[:3]):
            sync(folder)


@contextmanager
def start_run(path: Path, stage: str, config: Any) -> Iterator[RunDir]:
    """Open a run directory for a stage and write its manifest last, whatever happened.

    Args:
        config: the stage's config dataclass.

    Raises:
        UserError: the directory already holds a finished run, or another process writes there.
    """
    path.mkdir(parents=True, exist_ok=True)
    is_used = _is_used(path)
    with _locked(path):
        if is_used:
            # Hydra has written its own files for this run by now.
            _clear(path, keep=(LOCK, HYDRA))
        run = RunDir(path, stage)
        reset_peak_memory()
        start = time.perf_counter()
        status = "failed"
        try:
            yield run
            status = FINISHED
        except KeyboardInterrupt as interrupt:
            status = "interrupted"
            interrupt.args = (_describe_kept(path),)
            raise
        except Exception as error:
            run.record(error=str(error))
            raise
        finally:
            run.sync()
            write_json(path / MANIFEST, _manifest(run, status, config, time.perf_counter() - start))


def make_way(path: Path) -> None:
    """Move what an unfinished run left in a directory aside, so that a new run can be written there.

    Raises:
        UserError: the directory holds a finished run, another process writes there, or it is a file.
    """
    if path.exists() and not path.is_dir():
        raise UserError(f"hydra.run.dir={path} is a file; name a folder for the run")
    if path.is_dir() and (_is_used(path) or _has(path, HYDRA)):
        with _locked(path):
            _clear(path, keep=(LOCK,))


def _locked(path: Path) -> AbstractContextManager[None]:
    """Hold a run directory for this process, for as long as it lives."""
    return locked(
        path / LOCK, f"{path} is being written by another process; wait for it or choose another hydra.run.dir"
    )


def _has(path: Path, name: str) -> bool:
    return (path / name).exists() or (path / name).is_symlink()


def _is_used(path: Path) -> bool:
    return any(_has(path, name) for name in TRACES)


def _clear(path: Path, keep: Sequence[str]) -> None:
    """Move all but `keep` into a folder beside this one.

    Raises:
        UserError: a finished run is there.
        RunError: something can't be moved.
    """
    status = _status(path)
    if status == FINISHED:
        raise UserError(f"{path} already holds a finished run; choose another hydra.run.dir or remove it")
    left = [entry for entry in path.iterdir() if entry.name not in keep]
    place = path.resolve()
    aside = place.with_name(f"{place.name}.{status}-{datetime.now(UTC):%Y-%m-%d_%H-%M-%S-%f}")
    try:
        if left:
            aside.mkdir()
        for entry in left:
            entry.rename(aside / entry.name)
    except OSError as error:
        raise RunError(f"could not move what is in {path} to {aside}: {error.strerror}; choose another hydra.run.dir")


def _status(path: Path) -> str:
    """Return how the run in a directory ended; `killed` where it left no manifest."""
    if not _has(path, MANIFEST):
        return "killed"
    try:
        status = read_content(path).get("status")
    except UserError:
        return "unreadable"
    return status if status in (FINISHED, "failed", "interrupted") else "unreadable"


def _describe_kept(path: Path) -> str:
    """Return what an interrupted run leaves, beside the manifest that says so."""
    names = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
    return f"{path} keeps {', '.join(names)}" if names else "nothing was made yet"


def content_hash(content: Any) -> str:
    """Return a SHA-256 of anything JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _manifest(run: RunDir, status: str, config: Any, seconds: float) -> dict[str, Any]:
    settings = asdict(config)
    return {
        "status": status,
        "stage": run.stage,
        "format": FORMAT,
        "ended_at": datetime.now(UTC).isoformat(),
        "wall_seconds": round(seconds, 3),
        **peak_memory(),
        "config_hash": content_hash({key: value for key, value in settings.items() if key != "runs_dir"}),
        **run.facts,
        "config": settings,
        **describe_origin(),
    }
