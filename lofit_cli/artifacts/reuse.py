"""Work that is done already: a run is known by what it is made of, wherever it lies, and is never made twice."""

import errno
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from lofit_cli.artifacts.draws import DRAWS
from lofit_cli.artifacts.files import (
    content_hash,
    file_hash,
    read_bytes,
    read_sealed,
    remove_partial_files,
    seal,
    write_file,
    write_folder,
    write_json,
)
from lofit_cli.artifacts.finished_runs import read_content, require_unchanged
from lofit_cli.artifacts.leftovers import (
    HYDRA,
    LOCK,
    MADE_SO_FAR,
    PROGRESS,
    SEEN_ITEMS,
    STARTED,
    config_hash,
    held,
    remove_entries,
    shaping_settings,
)
from lofit_cli.artifacts.manifest import FINISHED, MANIFEST
from lofit_cli.artifacts.provenance import describe_code
from lofit_cli.artifacts.run_dir import FinishedRun, RunDir
from lofit_cli.console import say
from lofit_cli.errors import RunError, UnusableRunError, UserError
from lofit_cli.processes import num_processes
from lofit_cli.sharing import led, require_same

MADE = {
    "select_heads": "head_mask.safetensors",
    "train_offsets": "intervention.safetensors",
    "evaluate": "predictions.parquet",
}
"""Stage -> the file without which its run is worth nothing."""
MADE_OF = (".safetensors", ".bin", ".parquet")
"""The endings of files that hold weights, heads, interventions and predictions."""
PLACES = ("head_mask", "intervention")
"""Settings and facts that name what a run is built on by its place; its content counts."""
TIMES = ("selection_seconds", "training_seconds")


def begin(run: RunDir, config: Any, **built_on: Any) -> None:
    """Let a run begin, or go on from where one of the same content stopped, whatever directory that has.

    Called once all that shapes the run is recorded, and before anything is written.

    Args:
        config: the stage's config dataclass.
        built_on: the files that the run is built on, and whatever else tells what it is built on.

    Raises:
        FinishedRun: a finished run has the same content.
        UserError: the directory holds a finished run of the same settings whose content is another one.
    """
    key = _content_key(run, config, built_on)
    require_same("what this run is made of", lambda: key)
    run.record(content_key=key, num_processes=num_processes())
    finished, run.continues = led(lambda: _settle(run, config, key))
    if finished:
        raise FinishedRun(Path(finished))
    run.record(continued=run.continues)


def _settle(run: RunDir, config: Any, key: str) -> tuple[str | None, bool]:
    """Make a run directory ready, unless a finished run has the same content.

    Returns:
        the directory of that finished run, and whether the run goes on from where one of the same content stopped.
    """
    runs_dir = Path(config.runs_dir)
    if not config.force and (found := _find_finished(runs_dir, run, key)):
        return str(found), False
    if run.is_finished:
        raise UserError(
            f"{run.path} already holds a finished run of these settings, made of other data, weights or code; choose "
            "another hydra.run.dir or remove it"
        )
    continues = read_sealed(run.path / STARTED).get("content_key") == key
    if not continues:
        remove_entries(run.path, *PROGRESS, *MADE_SO_FAR)
        continues = _adopt(runs_dir, run.path, key)
    remove_entries(run.path, MANIFEST, SEEN_ITEMS)
    remove_partial_files(run.path)
    about = {"stage": run.stage, "config_hash": config_hash(config), "content_key": key}
    write_json(run.path / STARTED, {**about, "started_at": datetime.now(UTC).isoformat()})
    return None, continues


def _content_key(run: RunDir, config: Any, built_on: dict[str, Any]) -> str:
    """Return a hash of all that shapes a run: settings, data, weights, code, and the content of what it is built on."""
    settings = {key: value for key, value in shaping_settings(config).items() if key not in PLACES}
    facts = {key: value for key, value in run.facts.items() if key not in (*PLACES, *TIMES)}
    facts["device"] = str(facts.get("device", "")).partition(":")[0]
    built = {name: file_hash(part) if isinstance(part, Path) else part for name, part in built_on.items()}
    return content_hash([run.stage, settings, facts, built, describe_code()])


def content_at(place: str) -> str:
    """Return what tells the content of a file, or of a run's or a model's folder; of any other name the name itself."""
    path = Path(place)
    if path.is_file():
        return file_hash(path)
    made = [file for file in sorted(path.glob("*")) if file.suffix in MADE_OF]
    return content_hash([file_hash(file) for file in made]) if path.is_dir() else place


def _find_finished(runs_dir: Path, run: RunDir, key: str) -> Path | None:
    """Return the directory of a finished run with this content; the run's own one first."""
    for folder in (run.path, *_folders_with(runs_dir, MANIFEST, key)):
        if _is_made_of(folder, run.stage, key):
            try:
                require_unchanged(folder)
                return folder
            except UnusableRunError as error:
                if folder == run.path:
                    raise
                say(f"note: a finished run is passed over; {error}")
    return None


def _is_made_of(folder: Path, stage: str, key: str) -> bool:
    wanted = {"status": FINISHED, "stage": stage, "content_key": key}
    return wanted.items() <= read_sealed(folder / MANIFEST).items() and (folder / MADE[stage]).is_file()


def _folders_with(runs_dir: Path, name: str, key: str) -> Iterator[Path]:
    """Yield the folders under `runs_dir` of which a file of this name mentions a key."""
    for file in sorted(runs_dir.rglob(name)):
        try:
            mentions = key.encode() in read_bytes(file)
        except OSError:
            continue
        if mentions:
            yield file.parent


def _adopt(runs_dir: Path, path: Path, key: str) -> bool:
    """Move what an unfinished run of this content needs to go on into a run directory; return whether there is one."""
    for folder in _folders_with(runs_dir, STARTED, key):
        if folder.resolve() == path.resolve() or folder.is_symlink():
            continue
        try:
            with held(folder):
                for name in (*PROGRESS, *MADE_SO_FAR):
                    if name != STARTED and (folder / name).exists():
                        _move(folder / name, path / name)
                remove_entries(folder, STARTED)
        except UserError:
            continue
        except OSError as error:
            say(f"note: {os.path.relpath(folder)} can't be moved here ({error.strerror}), so the run begins anew")
            remove_entries(path, *PROGRESS, *MADE_SO_FAR)
            continue
        say(f"going on from where {os.path.relpath(folder)} stopped")
        return True
    return False


def _move(source: Path, target: Path) -> None:
    """Move a file or folder, also to another disk, where it has its name once all of it is there."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        if source.is_dir():
            write_folder(target, lambda new: shutil.copytree(source, new, dirs_exist_ok=True))
        else:
            write_file(target, partial(shutil.copyfile, source))
        remove_entries(source.parent, source.name)


def take(found: Path, path: Path, is_named: bool) -> Path:
    """Return where a finished run is to be looked for, in place of the run directory that was made for another one.

    Args:
        path: that directory.
        is_named: whether the user has named it; then the finished run is put there too, so that the name works.
    """
    content = {**read_content(found), "reused_at": datetime.now(UTC).isoformat()}
    if found.resolve() == path.resolve() or not is_named:
        _note_use(found, content)
        _remove_empty(path)
    else:
        _copy(found, path)
        write_json(path / MANIFEST, seal({**content, "copied_from": str(found)}))
    say(f"already finished: {os.path.relpath(found)}; force=true repeats it")
    return path if is_named else found


def _note_use(found: Path, content: dict[str, Any]) -> None:
    """Let a finished run's manifest say that it was asked for again; where nothing can be written there, say so."""
    try:
        write_json(found / MANIFEST, seal(content))
        # The last that a run does; it may have been killed just before.
        remove_entries(found, *PROGRESS)
    except (OSError, RunError) as error:
        reason = str(error).partition(";")[0]
        say(f"note: the run is taken, but when it was asked for is not noted, which 'latest' goes by: {reason}")


def _remove_empty(path: Path) -> None:
    """Remove a directory in which nothing has been made yet."""
    if all(entry.name in (LOCK, HYDRA) for entry in path.iterdir()):
        shutil.rmtree(path)


def _copy(found: Path, path: Path) -> None:
    """Give a finished run's files a second name; they are never changed, only replaced, so one content will do."""
    remove_entries(path, *PROGRESS)
    for entry in [*found.iterdir(), *(found / DRAWS).glob("*/*")]:
        name = path / entry.relative_to(found)
        if entry.is_file() and entry.name not in (LOCK, MANIFEST) and not name.exists():
            name.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(entry, name)
            except OSError:
                write_file(name, partial(shutil.copyfile, entry))
