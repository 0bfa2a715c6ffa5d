"""Finding finished runs and reading their manifests; a damaged one is named and stands in no other's way."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from lofit_cli.artifacts.draws import list_draws
from lofit_cli.artifacts.files import CHECKSUM, file_hash, is_as_sealed, read_json
from lofit_cli.artifacts.manifest import (
    FINISHED,
    FORMAT,
    MANIFEST,
    Making,
    Manifest,
    SelectHeadsManifest,
    TaskManifest,
    TrainOffsetsManifest,
)
from lofit_cli.artifacts.typed import UnfitError, fit, read_typed
from lofit_cli.console import say
from lofit_cli.errors import UnusableRunError, UserError

MAX_NAMED = 5
"""As many damaged runs are named; of more, it is enough how many there are."""
SHOWN = 40
"""How many letters of something unexpected are shown."""

AnyManifest = TypeVar("AnyManifest", bound=Manifest)


def read_manifest(path: Path, kind: type[AnyManifest], key: str) -> AnyManifest:
    """Return the manifest of a stage's finished run.

    Args:
        key: what the user set to `path`, for the errors.

    Raises:
        UserError: there is no such directory, its run never finished, it is another stage's or another version's, or
            something is missing or of the wrong type.
    """
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise UserError(f"{key}: run directory {path} {what}; name the directory of a finished run of {kind.STAGE}")
    if not (path / MANIFEST).exists():
        raise UserError(f"{key}: run directory {path} has no {MANIFEST}, so its run did not finish; run it again")
    content = read_content(path)
    if content.get("stage") != kind.STAGE:
        raise UnusableRunError(f"{key}: {path} holds a run of {_shown(content, 'stage')}; name one of {kind.STAGE}")
    if content.get("status") != FINISHED:
        raise UnusableRunError(
            f"{key}: the run in {path} ended as '{_shown(content, 'status')}'; name a finished one or run it again"
        )
    try:
        _require_format(content)
        return read_typed(kind, content)
    except UnfitError as error:
        raise UnusableRunError(f"{key}: the manifest of {path} {error}; run it again")


def read_content(path: Path) -> dict[str, Any]:
    """Return what a run directory's manifest says, unchecked.

    Raises:
        UserError: it can't be read, is no object of JSON in Unicode, or is not as it was written.
    """
    try:
        content = read_json(path / MANIFEST)
        json.dumps(content, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        raise UnusableRunError(f"{path / MANIFEST} holds what is no text; run the stage again")
    except UserError as error:
        raise UnusableRunError(str(error))
    if not isinstance(content, dict):
        raise UnusableRunError(f"{path / MANIFEST} is not a manifest of lofit; run the stage again")
    if not is_as_sealed(content):
        raise UnusableRunError(
            f"{path / MANIFEST} was changed after it was written; put the original back, run the stage again, or take "
            f"its {CHECKSUM} out if the change was meant"
        )
    return content


def require_unchanged(path: Path, *names: str) -> None:
    """Refuse files of a run, all that its manifest states a hash of or those named, that are not as it wrote them.

    Raises:
        UserError: one was changed, can't be read, or its manifest is damaged.
    """
    stated = read_content(path).get("file_hashes") if os.path.lexists(path / MANIFEST) else None
    for name, expected in stated.items() if isinstance(stated, dict) else ():
        if (not names or name in names) and _hash(path / name) != expected:
            raise UnusableRunError(
                f"{path / name} is not as its run wrote it; put the original back, or run that stage again"
            )


def require_draws(path: Path, manifest: Making, name: str) -> list[Path]:
    """Return the files of this name that a finished run has of its draws, in their order.

    Raises:
        UserError: one is missing, or was changed.
    """
    files = list_draws(path, name)
    if len(files) != manifest.num_draws:
        raise UnusableRunError(
            f"{path} has {name} of {len(files)} of its {manifest.num_draws} draws; put the others back, or run that "
            "stage again"
        )
    if files:
        require_unchanged(path, *(file.relative_to(path).as_posix() for file in files))
    return files


def _hash(file: Path) -> str:
    try:
        return file_hash(file)
    except OSError as error:
        raise UnusableRunError(f"{file} could not be read ({error.strerror or error}); put it back, or run it again")


def read_selection(file: Path) -> SelectHeadsManifest | TrainOffsetsManifest | None:
    """Return the manifest of the finished run that a head mask file lies in; None where it lies in none.

    Raises:
        UserError: it lies in one whose manifest is damaged.
    """
    if claims(file.parent, TrainOffsetsManifest):
        return read_manifest(file.parent, TrainOffsetsManifest, "head_mask")
    if claims(file.parent, SelectHeadsManifest):
        return read_manifest(file.parent, SelectHeadsManifest, "head_mask")
    return None


def is_finished(path: Path, kind: type[Manifest]) -> bool:
    """Return whether a directory holds a finished run of a stage, with a manifest that can be read."""
    try:
        read_manifest(path, kind, "runs")
    except UserError:
        return False
    return True


def claims(path: Path, kind: type[Manifest]) -> bool:
    """Return whether a directory says that it holds a finished run of a stage; also where what it says is damaged."""
    if not os.path.lexists(path / MANIFEST):
        return False
    try:
        content = read_content(path)
    except UserError:
        return True
    stage, status = content.get("stage"), content.get("status")
    if not (isinstance(stage, str) and isinstance(status, str)):
        return True
    return stage == kind.STAGE and status == FINISHED


def note_left_out(errors: Sequence[str]) -> None:
    """Say which damaged runs are left out."""
    for error in errors[:MAX_NAMED]:
        say(f"note: a run is left out; {error}")
    if len(errors) > MAX_NAMED:
        say(f"note: {len(errors) - MAX_NAMED} more runs are left out like these")


def find_latest(
    runs_dir: Path, kind: type[TaskManifest], model: str, facts: Mapping[str, Any], one_name: Callable[[str], str]
) -> Path:
    """Return the newest finished run of a stage and a model whose manifest states these facts.

    Args:
        one_name: gives all names of a model as one.

    Raises:
        UserError: there is none.
    """
    found = []
    for manifest, folder in sorted(_read_all(runs_dir / kind.STAGE, kind), key=lambda pair: pair[0].wanted_at):
        differing = [] if one_name(manifest.model) == one_name(model) else ["model"]
        differing += [key for key, value in facts.items() if getattr(manifest, key) != value]
        found.append((folder, differing))
    for folder, differing in reversed(found):
        if not differing:
            _note_clock(folder, read_manifest(folder, kind, "latest"))
            return folder
    near = [f" ({folder} differs in {keys[0]} only)" for folder, keys in reversed(found) if len(keys) == 1]
    told = {key: value for key, value in {"model": model, **facts}.items() if key != "dataset_hash"}
    wanted = ", ".join(f"{key} {value}" for key, value in told.items() if value is not None and value is not False)
    place = f"{runs_dir / kind.STAGE}{''.join(near[:1])}"
    raise UserError(f"no finished {kind.STAGE} run with {wanted} in {place}; run it first or name a directory")


def find_newest(runs_dir: Path, kind: type[TaskManifest]) -> Path:
    """Return the newest finished run of a stage, whatever its model and task.

    Raises:
        UserError: there is none.
    """
    found = _read_all(runs_dir / kind.STAGE, kind)
    if not found:
        raise UserError(f"no finished {kind.STAGE} run in {runs_dir / kind.STAGE}; run it first or name a directory")
    manifest, folder = max(found, key=lambda pair: pair[0].wanted_at)
    _note_clock(folder, manifest)
    return folder


def _note_clock(folder: Path, manifest: Manifest) -> None:
    """Say so where the newest run is of a time that has yet to come, so that a newer one may seem older."""
    if manifest.wanted_at > datetime.now(UTC).isoformat():
        say(
            f"note: by this machine's clock {folder} is of the future ({manifest.wanted_at[:SHOWN]}), so it is latest "
            "whatever was run since; name a directory if you mean another"
        )


def _read_all(folder: Path, kind: type[AnyManifest]) -> list[tuple[AnyManifest, Path]]:
    """Return the manifests of all finished runs of a stage in a folder, with their directories."""
    found, damaged = [], []
    for path in sorted(file.parent for file in folder.glob(f"*/{MANIFEST}")):
        if claims(path, kind):
            try:
                found.append((read_manifest(path, kind, "latest"), path))
            except UnusableRunError as error:
                damaged.append(str(error))
    note_left_out(damaged)
    return found


def _require_format(content: Mapping[str, Any]) -> None:
    found = fit("format", content.get("format", 0), int)
    if found != FORMAT:
        age = "an older" if found < FORMAT else "a newer"
        raise UnfitError(f"was written by {age} version of lofit (format {found}, this one reads {FORMAT})")


def _shown(content: Mapping[str, Any], name: str) -> str:
    return str(content.get(name))[:SHOWN]
