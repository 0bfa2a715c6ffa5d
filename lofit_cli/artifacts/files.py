"""Writing whole files or none, so that they outlast a power cut, and reading them with errors a person can act on.

A file is filled under a name that no other process uses, put on the disk, renamed, and its folder put on the disk too.
Where a link stands in its place the link is replaced: nothing outside the folder is ever written.
"""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any

from lofit_cli.errors import RunError, UserError

PARTIAL = ".partial"
READ_AND_WRITE = 0o666
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL
NO_LINK = getattr(os, "O_NOFOLLOW", 0)
AS_IT_IS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
CHECKSUM = "checksum"
"""The entry of an object of JSON that holds a checksum of the rest."""
FULL = (errno.EDQUOT, errno.EFBIG, errno.ENOSPC)
"""What the operating system says where a disk, a quota or a file is full."""


def write_file(file: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a temporary file beside `file`, then rename it, so that no half-written file is ever seen.

    Raises:
        RunError: the disk is full, or something else keeps it from being written.
    """
    partial = file.with_name(f".{secrets.token_hex(8)}{PARTIAL}")
    with _explained(file):
        try:
            mode = _create(partial)
            write(partial)
            # A library may have put a file of its own there, which only its owner can read.
            partial.chmod(mode)
            sync(partial)
            partial.replace(file)
            sync(file.parent)
        finally:
            partial.unlink(missing_ok=True)


def write_folder(folder: Path, fill: Callable[[Path], Any]) -> None:
    """Let `fill` fill a temporary folder beside `folder`, then rename it, unless another process put one there first.

    Raises:
        RunError: as for `write_file`.
    """
    partial = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}{PARTIAL}")
    try:
        with _explained(folder):
            partial.mkdir()
        with _explained(folder, FULL):
            fill(partial)
        with _explained(folder):
            _settle(partial)
            _rename_if_absent(partial, folder)
            sync(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_partial_folders(folder: Path) -> None:
    """Remove what processes that were killed have left of a folder; only for who holds the lock on it."""
    for stale in folder.parent.glob(f".{folder.name}.*{PARTIAL}"):
        shutil.rmtree(stale, ignore_errors=True)


def remove_partial_files(folder: Path) -> None:
    """Remove the files in a folder that killed processes have not finished; only for who holds the lock on it."""
    for stale in folder.rglob(f".*{PARTIAL}"):
        stale.unlink(missing_ok=True)


def write_json(file: Path, content: Any) -> None:
    """Write JSON that a person can read, and every program: nan is none."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    write_file(file, lambda path: path.write_text(text, encoding="utf-8"))


def append_line(file: Path, content: dict[str, Any], is_first: bool) -> None:
    """Add a line to a JSON-lines file; it outlasts the process, and a power cut once the file is synced.

    Args:
        is_first: begin a new file, in place of any that is there.

    Raises:
        RunError: as for `write_file`.
    """
    with _explained(file):
        if is_first:
            remove(file)
        flags = NEW_FILE if is_first else os.O_WRONLY | os.O_APPEND | NO_LINK
        with os.fdopen(os.open(file, flags, READ_AND_WRITE), "w", encoding="utf-8") as lines:
            lines.write(json.dumps(content, allow_nan=False) + "\n")


def open_file(file: Path) -> BufferedReader:
    """Open a file to read its bytes; a pipe, device or folder in its place is refused at once, not waited for.

    Raises:
        OSError: it can't be opened, or is no file.
    """
    descriptor = os.open(file, AS_IT_IS)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is a folder, a pipe or a device, not a file", str(file))
    return os.fdopen(descriptor, "rb")


def read_bytes(file: Path) -> bytes:
    """Return what is in a file; errors as for `open_file`."""
    with open_file(file) as content:
        return content.read()


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it; nothing where nothing is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def file_hash(file: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with open_file(file) as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def content_hash(content: Any) -> str:
    """Return a SHA-256 of anything JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def sync(path: Path) -> None:
    """Put a file, or the names in a folder, on the disk.

    Source: fsync(2): a new file's name is on the disk only when its folder is synced too.
    """
    if path.is_dir():
        # Windows opens no folders, and not every file system syncs them.
        with suppress(OSError):
            _sync(path, os.O_RDONLY)
    else:
        _sync(path, os.O_RDWR)


def read_json(file: Path) -> Any:
    """Read a JSON file, refusing one that is cut off or not JSON."""
    try:
        return json.loads(read_bytes(file).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} could not be read ({error}); it is missing, cut off or not JSON")


def seal(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object of JSON with a checksum of the rest of it, in place of any that it has."""
    rest = json.loads(json.dumps({key: value for key, value in content.items() if key != CHECKSUM}))
    return {**rest, CHECKSUM: content_hash(rest)}


def is_as_sealed(content: Mapping[str, Any]) -> bool:
    """Return whether an object of JSON is as it was written; one without a checksum is taken as it is."""
    rest = {key: value for key, value in content.items() if key != CHECKSUM}
    return CHECKSUM not in content or content[CHECKSUM] == content_hash(rest)


def read_sealed(file: Path) -> dict[str, Any]:
    """Return the object of JSON in a file; an empty one where it can't be read or is not as it was written."""
    try:
        content = read_json(file)
        return content if isinstance(content, dict) and is_as_sealed(content) else {}
    except (UserError, RecursionError):
        return {}


@contextmanager
def _explained(file: Path, numbers: Sequence[int] = ()) -> Iterator[None]:
    """Turn the operating system's errors inside a `with` block, or those of these numbers, into one sentence."""
    try:
        yield
    except Exception as error:
        found = _system_error(error)
        if found is None or (numbers and found.errno not in numbers):
            raise
        raise RunError(f"could not write {file}: {found.strerror or found}; free some space or write to another folder")


def _system_error(error: Exception) -> OSError | None:
    """Return an error of the operating system; code in Rust, such as safetensors', states its number."""
    if isinstance(error, OSError):
        return error
    stated = None if isinstance(error, UserError) else re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(stated[1]), os.strerror(int(stated[1]))) if stated else None


def _create(file: Path) -> int:
    """Create an empty file that nobody else has, and return the mode that this process gives its files."""
    descriptor = os.open(file, NEW_FILE, READ_AND_WRITE)
    try:
        return os.fstat(descriptor).st_mode & READ_AND_WRITE
    finally:
        os.close(descriptor)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | NO_LINK)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _settle(folder: Path) -> None:
    """Sync a folder with all that is in it, whose files are to be as readable as the folder is."""
    mode = folder.stat().st_mode & READ_AND_WRITE
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(mode)
        sync(path)
    sync(folder)


def _rename_if_absent(folder: Path, name: Path) -> None:
    try:
        folder.rename(name)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) and not name.is_dir():
            raise
