"""Run directories: what a stage leaves behind."""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lofit_cli.artifacts.draws import DRAWS
from lofit_cli.artifacts.facts import require_facts
from lofit_cli.artifacts.files import append_line, file_hash, read_bytes, seal, sync, write_file, write_json
from lofit_cli.artifacts.leftovers import (
    HYDRA,
    LOCK,
    LOGS,
    PROGRESS,
    config_hash,
    held,
    holds_a_run,
    how_it_ended,
    is_same_run,
    move_aside,
    remove_entries,
)
from lofit_cli.artifacts.manifest import FINISHED, FORMAT, MANIFEST
from lofit_cli.artifacts.provenance import describe_origin, peak_memory, reset_peak_memory

HASHED = ("seen_items.json", "metrics.json", "predictions.parquet", "head_mask.json", "head_mask.safetensors")
"""The files of a finished run whose hashes its manifest states, where they are there; an intervention has a field."""
SYNC_SECONDS = 1.0
"""How much of a log a power cut may cost; syncing each line would make short steps wait for the disk."""


class FinishedRun(Exception):  # noqa: N818, it is good news
    """A run ends before it has begun, because a finished one is made of the same."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is finished")
        self.path = path


@dataclass
class RunDir:
    """A stage's output folder, and the facts that its manifest will state.

    Attributes:
        is_finished: whether a finished run of the same settings is there, of which nothing may be changed.
        continues: whether the run goes on from where one of the same content stopped.
        listeners: are told each line of a log, with the log's name.
    """

    path: Path
    stage: str
    facts: dict[str, Any] = field(default_factory=dict)
    is_finished: bool = False
    continues: bool = False
    listeners: list[Callable[[str, dict[str, Any]], None]] = field(default_factory=list)
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

    @contextmanager
    def timing(self, fact: str) -> Iterator[None]:
        """Add the seconds that a `with` block takes to the manifest, under this name."""
        start = time.perf_counter()
        yield
        self.record(**{fact: round(time.perf_counter() - start, 3)})

    def append_line(self, name: str, content: dict[str, Any]) -> None:
        """Add one line to a JSON-lines file, which is put on the disk once in a while and when the run ends."""
        now = time.monotonic()
        append_line(self.path / name, content, is_first=name not in self._synced)
        if now - self._synced.get(name, -math.inf) >= SYNC_SECONDS:
            sync(self.path / name)
            self._synced[name] = now
        for listener in self.listeners if name in LOGS else ():
            listener(name, content)

    def read_lines(self, name: str) -> list[dict[str, Any]]:
        """Return the lines that a continued run has of a JSON-lines file, without one that was cut off."""
        is_there = self.continues and (self.path / name).is_file()
        return list(_whole_lines(self.path / name)) if is_there else []

    def continue_lines(self, name: str, lines: list[dict[str, Any]]) -> None:
        """Let a JSON-lines file begin with lines that it has already, and go on after them."""
        text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
        write_file(self.path / name, lambda path: path.write_text(text, encoding="utf-8"))
        self._synced[name] = time.monotonic()

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
        FinishedRun: as the stage said.
    """
    path.mkdir(parents=True, exist_ok=True)
    is_used = holds_a_run(path)
    with held(path):
        run = _open(path, stage, config, is_used)
        reset_peak_memory()
        start = time.perf_counter()
        status = "failed"
        try:
            yield run
            status = FINISHED
        except FinishedRun:
            run.is_finished = True
            raise
        except KeyboardInterrupt as interrupt:
            status = "interrupted"
            interrupt.args = (_describe_kept(path),)
            raise
        except Exception as error:
            run.record(error=str(error))
            raise
        finally:
            if not run.is_finished:
                run.sync()
                write_json(path / MANIFEST, seal(_manifest(run, status, config, time.perf_counter() - start)))
        if not run.is_finished:
            remove_entries(path, *PROGRESS)


def _open(path: Path, stage: str, config: Any, is_used: bool) -> RunDir:
    """Return a run directory with what may stay of an earlier run; the rest is moved aside."""
    if is_same_run(path, stage, config):
        return RunDir(path, stage, is_finished=how_it_ended(path) == FINISHED)
    if is_used:
        # Hydra has written its own files for this run by now.
        move_aside(path, keep=(LOCK, HYDRA))
    return RunDir(path, stage)


def _whole_lines(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON-lines file up to the first line that is none."""
    for line in read_bytes(file).splitlines():
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(content, dict):
            return
        yield content


def _manifest(run: RunDir, status: str, config: Any, seconds: float) -> dict[str, Any]:
    settings = asdict(config)
    return {
        "status": status,
        "stage": run.stage,
        "format": FORMAT,
        "ended_at": datetime.now(UTC).isoformat(),
        "wall_seconds": round(seconds, 3),
        **peak_memory(),
        "config_hash": config_hash(config),
        **run.facts,
        "file_hashes": _hash_files(run.path) if status == FINISHED else {},
        "config": settings,
        **describe_origin(),
    }


def _hash_files(folder: Path) -> dict[str, str]:
    names = [*HASHED, *(file.relative_to(folder).as_posix() for file in sorted((folder / DRAWS).glob("*/*")))]
    return {name: file_hash(folder / name) for name in names if (folder / name).is_file()}


def _describe_kept(path: Path) -> str:
    """Return what an interrupted run leaves, beside the manifest that says so."""
    names = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
    return f"{path} keeps {', '.join(names)}" if names else "nothing was made yet"
