"""Run directories: what a stage leaves behind, and finding earlier ones."""

import hashlib
import json
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lofit_cli.artifacts.files import read_json, write_json
from lofit_cli.errors import RunError, UserError

MANIFEST = "manifest.json"
SEEN_ITEMS = "seen_items.json"
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
    _begun: set[str] = field(default_factory=set)

    def has_lines(self, name: str) -> bool:
        """Return whether this run has written to a JSON-lines file."""
        return name in self._begun

    def record(self, **facts: Any) -> None:
        """Add facts to the manifest."""
        self.facts.update(facts)

    def record_settings(self, **sections: Mapping[str, Any]) -> None:
        """Add settings that shaped what this run made, to `made_by`: runs that agree in all of them are repeats."""
        flat = {f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()}
        self.facts["made_by"] = {**self.facts.get("made_by", {}), **flat}

    def append_line(self, name: str, content: dict[str, Any]) -> None:
        """Add one line to a JSON-lines file, on disk when this returns."""
        # What an unfinished run left in the same directory must not be mixed with this one's.
        mode = "a" if name in self._begun else "w"
        try:
            with (self.path / name).open(mode) as file:
                file.write(json.dumps(content) + "\n")
        except OSError as error:
            raise RunError(f"could not write {self.path / name}: {error.strerror or error}; free some space")
        self._begun.add(name)


@contextmanager
def start_run(path: Path, stage: str, config: Any) -> Iterator[RunDir]:
    """Open a run directory for a stage and write its manifest last, whatever happened.

    Args:
        config: the stage's config dataclass.

    Raises:
        UserError: the directory already holds a finished run.
    """
    make_way(path)
    run = RunDir(path, stage)
    path.mkdir(parents=True, exist_ok=True)
    # A run that was killed leaves no manifest; what it has learnt from is not what this one learns from.
    (path / SEEN_ITEMS).unlink(missing_ok=True)
    _reset_peak_memory()
    start = time.perf_counter()
    status = "failed"
    try:
        yield run
        status = "finished"
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    except Exception as error:
        run.record(error=str(error))
        raise
    finally:
        write_json(path / MANIFEST, _manifest(run, status, config, time.perf_counter() - start))


def make_way(path: Path) -> None:
    """Move what an unfinished run left in a directory aside, so that a new run can be written there.

    Raises:
        UserError: the directory holds a finished run.
    """
    if not (path / MANIFEST).exists():
        return
    manifest = _read_any_manifest(path)
    status = manifest.get("status")
    if status == "finished":
        raise UserError(f"{path} already holds a finished run; choose another hydra.run.dir or remove it")
    path.rename(path.with_name(f"{path.name}.{status}-{datetime.now(UTC):%Y-%m-%d_%H-%M-%S-%f}"))


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
