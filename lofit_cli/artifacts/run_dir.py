"""Run directories: what a stage leaves behind, and finding earlier ones."""

import hashlib
import json
import math
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lofit_cli.artifacts.files import append_line, read_json, sync, write_json
from lofit_cli.artifacts.locks import locked
from lofit_cli.errors import RunError, UserError

MANIFEST = "manifest.json"
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
OF_METHOD = ("method", "model", "dtype", "model_hash", "num_trained_parameters")
OF_EVALUATION = (
    "selector",
    "num_heads",
    "seed",
    "ended_at",
    "task",
    "fold",
    "split",
    "protocol",
    "questions_hash",
    "metrics",
)
STATED = {"train_offsets": OF_METHOD, "evaluate": (*OF_METHOD, *OF_EVALUATION)}
"""What the manifest of a finished run of a stage is read for."""
RECORDED_PACKAGES = ("lofit", "torch", "transformers", "safetensors", "datasets", "hydra-core", "scipy", "numpy")


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
        """Add facts to the manifest."""
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
        _reset_peak_memory()
        start = time.perf_counter()
        status = "failed"
        try:
            yield run
            status = "finished"
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
    if status == "finished":
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
        status = _read_any_manifest(path).get("status")
    except UserError:
        return "unreadable"
    return status if status in ("finished", "failed", "interrupted") else "unreadable"


def _describe_kept(path: Path) -> str:
    """Return what an interrupted run leaves, beside the manifest that says so."""
    names = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
    return f"{path} keeps {', '.join(names)}" if names else "nothing was made yet"


def read_manifest(path: Path, stage: str, key: str) -> dict[str, Any]:
    """Return the manifest of a stage's finished run.

    Args:
        key: what the user set to `path`, for the errors.

    Raises:
        UserError: there is no such directory, its run never finished, or it is another stage's.
    """
    if not path.is_dir():
        kind = "is a file" if path.exists() else "does not exist"
        raise UserError(f"{key}: run directory {path} {kind}; name the directory of a finished run of {stage}")
    if not (path / MANIFEST).exists():
        raise UserError(f"{key}: run directory {path} has no {MANIFEST}, so its run did not finish; run it again")
    manifest = _read_any_manifest(path)
    if manifest.get("stage") != stage:
        raise UserError(f"{key}: {path} holds a run of {manifest.get('stage')}; name one of {stage}")
    if manifest.get("status") != "finished":
        raise UserError(
            f"{key}: the run in {path} ended as '{manifest.get('status')}'; name a finished one or run it again"
        )
    if missing := [fact for fact in STATED.get(stage, ()) if fact not in manifest]:
        raise UserError(f"{key}: the manifest of {path} does not state its {missing[0]}; run it again")
    return manifest


def is_finished(path: Path, stage: str) -> bool:
    """Return whether a directory holds a finished run of a stage, with a manifest that can be read."""
    try:
        read_manifest(path, stage, "runs")
    except UserError:
        return False
    return True


def find_latest(runs_dir: Path, stage: str, facts: dict[str, Any]) -> Path:
    """Return the newest finished run of a stage whose manifest states these facts.

    Raises:
        UserError: there is none.
    """
    found = []
    for file in (runs_dir / stage).glob(f"*/{MANIFEST}"):
        # One run's damaged manifest must not stand in the way of the others.
        with suppress(UserError):
            manifest = read_manifest(file.parent, stage, "latest")
            differing = [key for key, value in facts.items() if manifest.get(key) != value]
            found.append((manifest["ended_at"], file.parent, differing))
    found.sort(reverse=True)
    for _, folder, differing in found:
        if not differing:
            return folder
    near = [f" ({folder} differs in {keys[0]} only)" for _, folder, keys in found if len(keys) == 1]
    wanted = ", ".join(f"{key} {value}" for key, value in facts.items() if key != "dataset_hash")
    place = f"{runs_dir / stage}{''.join(near[:1])}"
    raise UserError(f"no finished {stage} run with {wanted} in {place}; run it first or name a directory")


def _read_any_manifest(path: Path) -> dict[str, Any]:
    manifest = read_json(path / MANIFEST)
    if not isinstance(manifest, dict):
        raise UserError(f"{path / MANIFEST} is not a manifest of lofit; run the stage again")
    return manifest


def content_hash(content: Any) -> str:
    """Return a SHA-256 of anything JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _manifest(run: RunDir, status: str, config: Any, seconds: float) -> dict[str, Any]:
    settings = asdict(config)
    return {
        "status": status,
        "stage": run.stage,
        "ended_at": datetime.now(UTC).isoformat(),
        "wall_seconds": round(seconds, 3),
        **_peak_memory(),
        "config_hash": content_hash({key: value for key, value in settings.items() if key != "runs_dir"}),
        **run.facts,
        "config": settings,
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: _version(name) for name in RECORDED_PACKAGES},
        "git": _git_state(),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git_state() -> dict[str, Any] | None:
    """Return the commit of the checkout that this code runs from and whether it had changes; None from a wheel."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    git = ["git", "-C", str(root)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        changes = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit.stdout.strip(), "dirty": bool(changes.stdout.strip())}


def _reset_peak_memory() -> None:
    """Start the peaks anew, so that the runs of a sweep do not inherit them from one another."""
    with suppress(OSError):
        # Linux: see proc(5), clear_refs.
        Path("/proc/self/clear_refs").write_text("5")
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _peak_memory() -> dict[str, int]:
    """Return peak memory in bytes: of the process, and of the GPU where there is one."""
    memory = {}
    if sys.platform == "linux":
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        if peak:
            memory["peak_memory_bytes"] = int(peak[1]) * 1024
    elif sys.platform == "darwin":
        import resource

        memory["peak_memory_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available():
        memory["peak_gpu_memory_bytes"] = torch.cuda.max_memory_allocated()
    return memory
