"""What lies in a run directory already: a run that is finished, one that can go on, or what has to make way."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from lofit_cli.artifacts.draws import DRAWS
from lofit_cli.artifacts.files import content_hash, read_sealed, remove, remove_partial_files
from lofit_cli.artifacts.locks import locked
from lofit_cli.artifacts.manifest import FINISHED, MANIFEST
from lofit_cli.errors import RunError, UserError

SEEN_ITEMS = "seen_items.json"
STARTED = "started.json"
"""What an unfinished run is made of, so that the same run can go on from where it stopped; `reuse` writes it."""
CHECKPOINTS = "checkpoints"
OUTCOMES = "outcomes.jsonl"
METRICS = "metrics.json"
LOGS = ("history.jsonl", "validation.jsonl")
MADE_SO_FAR = (*LOGS, DRAWS)
"""What a run that goes on continues with and leaves, and one that begins anew must not find."""
PROGRESS = (STARTED, CHECKPOINTS, OUTCOMES)
"""What a run needs to go on from where it stopped, and leaves when it is finished."""
LOCK = ".lock"
HYDRA = ".hydra"
TRACES = (
    MANIFEST,
    LOCK,
    *PROGRESS,
    SEEN_ITEMS,
    *MADE_SO_FAR,
    "scale.safetensors",
    "head_mask.safetensors",
    "intervention.safetensors",
    "predictions.parquet",
    METRICS,
    "comparison.csv",
    "description.json",
)
"""What shows that a run has been in a directory, whatever became of it."""
UNSHAPING = ("runs_dir", "force", "cache", "tracker")
"""Settings of a stage that change nothing of what it makes."""


def make_way(path: Path, stage: str, config: Any) -> None:
    """Move what an unfinished run left in a directory aside, so that a new run can be written there.

    What a run of the same settings left stays: it is finished, or can go on.

    Args:
        config: the stage's config dataclass.

    Raises:
        UserError: the directory holds a finished run, another process writes there, or it is a file.
    """
    if path.exists() and not path.is_dir():
        raise UserError(f"hydra.run.dir={path} is a file; name a folder for the run")
    if path.is_dir() and (holds_a_run(path) or _has(path, HYDRA)):
        with held(path):
            if not is_same_run(path, stage, config):
                move_aside(path, keep=(LOCK,))


def is_same_run(path: Path, stage: str, config: Any) -> bool:
    """Return whether a run of these settings is in a directory, finished or begun."""
    if not hasattr(config, "force") or any(link.is_symlink() for link in path.iterdir()):
        return False
    name = MANIFEST if how_it_ended(path) == FINISHED else STARTED
    if name == MANIFEST and config.force:
        return False
    return {"stage": stage, "config_hash": config_hash(config)}.items() <= read_sealed(path / name).items()


def remove_entries(path: Path, *names: str) -> None:
    """Remove files, and folders with what is in them, of which some may be missing."""
    for name in names:
        remove(path / name)


def held(path: Path) -> AbstractContextManager[None]:
    """Hold a run directory for this process, for as long as it lives."""
    return locked(
        path / LOCK, f"{path} is being written by another process; wait for it or choose another hydra.run.dir"
    )


def _has(path: Path, name: str) -> bool:
    return (path / name).exists() or (path / name).is_symlink()


def holds_a_run(path: Path) -> bool:
    """Return whether a run has been in a directory, whatever became of it."""
    return any(_has(path, name) for name in TRACES)


def move_aside(path: Path, keep: Sequence[str]) -> None:
    """Move all but `keep` into a folder beside this one.

    Raises:
        UserError: a finished run is there.
        RunError: something can't be moved.
    """
    ended = how_it_ended(path)
    if ended == FINISHED:
        raise UserError(f"{path} already holds a finished run; choose another hydra.run.dir or remove it")
    remove_partial_files(path)
    left = [entry for entry in path.iterdir() if entry.name not in keep]
    place = path.resolve()
    aside = place.with_name(f"{place.name}.{ended}-{datetime.now(UTC):%Y-%m-%d_%H-%M-%S-%f}")
    try:
        if left:
            aside = _make_new(aside)
        for entry in left:
            entry.rename(aside / entry.name)
    except OSError as error:
        raise RunError(f"could not move what is in {path} to {aside}: {error.strerror}; choose another hydra.run.dir")


def _make_new(folder: Path) -> Path:
    """Make a folder of this name, or with a number after it where a clock that stands or goes back gives one twice."""
    for number in count(1):
        place = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        with suppress(FileExistsError):
            place.mkdir()
            break
    return place


def how_it_ended(path: Path) -> str:
    """Return how the run in a directory ended; `killed` where it left no manifest."""
    if not _has(path, MANIFEST):
        return "killed"
    status = read_sealed(path / MANIFEST).get("status")
    return status if status in (FINISHED, "failed", "interrupted") else "unreadable"


def shaping_settings(config: Any) -> dict[str, Any]:
    """Return the settings of a stage that shape what it makes."""
    settings = {key: value for key, value in asdict(config).items() if key not in UNSHAPING}
    parts = {name: getattr(config, name).shaping() for name in ("model", "trainer") if name in settings}
    return settings | parts


def config_hash(config: Any) -> str:
    """Return a hash of the settings that shape what a stage makes."""
    return content_hash(shaping_settings(config))
