"""What was computed once and is kept on this machine for other runs, up to a limit.

An entry is known by its key, which stands in it. It is written whole or not at all, so that
processes may write the same one, and one that is not as it was written is removed.
"""

import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lofit_cli.artifacts.cache_dir import cache_dir
from lofit_cli.artifacts.files import PARTIAL, content_hash, remove
from lofit_cli.console import say
from lofit_cli.errors import RunError, UserError

if TYPE_CHECKING:
    from torch import Tensor

LIMIT = "LOFIT_CACHE_GB"
"""The environment variable that says how large everything computed may become together; 0 keeps nothing."""
DEFAULT_GB = 5.0
LARGEST_SHARE = 10
"""An entry of more than one in so many parts of the limit is not kept: it would put too many others out."""
KIND = "computed"
VERSION = "v1"
NAME = re.compile(r"[0-9a-f]{64}\.safetensors")
STALE_SECONDS = 3600.0
"""What is not finished after this time, no process is writing any more."""

_told: set[Path] = set()
"""Folders of which it has been said that nothing can be written there."""


@dataclass(frozen=True)
class Entry:
    """Something computed, by its file; `used_at` is when it was written or read last, in seconds since 1970."""

    file: Path
    num_bytes: int
    used_at: float

    @property
    def kind(self) -> str:
        """Return what it is."""
        return self.file.parent.name


def max_bytes() -> int:
    """Return how large everything computed may become together.

    Raises:
        UserError: the environment variable holds no size.
    """
    stated = os.environ.get(LIMIT) or str(DEFAULT_GB)
    if not re.fullmatch(r"\d{1,9}(\.\d*)?", stated):
        raise UserError(f"{LIMIT}={stated} is not a size; give a number of gigabytes, or 0 to keep nothing")
    return int(float(stated) * 1e9)


def largest_entry() -> int:
    """Return how many bytes an entry may have that is kept; errors as for `max_bytes`."""
    return max_bytes() // LARGEST_SHARE


def recall(kind: str, key: Mapping[str, Any]) -> "dict[str, Tensor] | None":
    """Return what was kept under a key; None where there is nothing, or nothing sound, which is removed."""
    from lofit_cli.artifacts.tensors import read_all_tensors

    file = _place(kind, key)
    with suppress(OSError):
        try:
            if stat.S_ISREG(file.lstat().st_mode):
                found, about = read_all_tensors(file, KIND)
                if content_hash(about.get("key")) == content_hash(key):
                    _note_use(file)
                    return found
        except UserError:
            pass
        remove(file)
    return None


def keep(kind: str, key: Mapping[str, Any], tensors: "dict[str, Tensor]") -> None:
    """Keep what was computed, in the place of what was not used for longest; where it can't be written, say so once."""
    from lofit_cli.artifacts.tensors import write_tensors

    num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    file, is_kept = _place(kind, key), num_bytes <= largest_entry()
    try:
        # Also where nothing is added: the limit may have been lowered.
        _make_room(max_bytes() - num_bytes * is_kept)
        if is_kept:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_tensors(file, KIND, tensors, {"key": key})
    except (OSError, RunError) as error:
        _tell_once(f"could not write {file}: {error.strerror}" if isinstance(error, OSError) else str(error))


def find_entries() -> list[Entry]:
    """Return all that was computed, also by other versions; what was not used for longest comes first."""
    return sorted(_entries(), key=lambda entry: entry.used_at)


def clear() -> list[Entry]:
    """Remove all that was computed, and return it; another process computes again what it misses."""
    entries = find_entries()
    for entry in entries:
        remove(entry.file)
    _remove_stale()
    return entries


def _place(kind: str, key: Mapping[str, Any]) -> Path:
    return _root() / VERSION / kind / f"{content_hash(key)}.safetensors"


def _root() -> Path:
    return cache_dir() / "computed"


def _entries() -> Iterator[Entry]:
    for file in _root().glob("*/*/*"):
        # Another process may remove it at any moment.
        with suppress(OSError):
            about = file.lstat()
            if NAME.fullmatch(file.name):
                yield Entry(file, about.st_size, about.st_mtime)


def _note_use(file: Path) -> None:
    """Note when an entry was used, where something can be written there."""
    with suppress(OSError):
        os.utime(file)


def _tell_once(reason: str) -> None:
    """Say why nothing is kept, once for each place."""
    if cache_dir() not in _told:
        _told.add(cache_dir())
        cause = reason.partition(";")[0]
        say(f"note: what is computed is not kept for other runs: {cause}; mend that, or set cache=false")


def _make_room(limit: int) -> None:
    """Remove what was not used for longest, until the rest is no larger than this; and what was never finished."""
    _remove_stale()
    entries = find_entries()
    total = sum(entry.num_bytes for entry in entries)
    for entry in entries:
        if total <= limit:
            return
        remove(entry.file)
        total -= entry.num_bytes


def _remove_stale() -> None:
    for file in _root().glob(f"*/*/.*{PARTIAL}"):
        with suppress(OSError):
            if file.lstat().st_mtime < time.time() - STALE_SECONDS:
                file.unlink()
