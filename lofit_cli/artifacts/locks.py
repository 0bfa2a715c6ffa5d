"""Locks that keep two processes from writing the same thing; they end with the process that holds them."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lofit_cli.console import say
from lofit_cli.errors import UserError

PATIENCE_SECONDS = 0.3
"""A lock that is held for a moment, to look or to make way, keeps nobody out; one that is held longer does."""
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
"""What file systems say that have none, such as some network mounts."""


@contextmanager
def locked(file: Path, busy: str, wait: bool = False, keep: bool = True) -> Iterator[None]:
    """Hold the lock on a file inside a `with` block.

    Args:
        busy: what to tell the person where another process holds the lock.
        wait: tell it, and wait as long as it takes.
        keep: leave the file when the lock ends. One that is removed could be locked by two processes, under one name,
            where the second came in that moment.

    Raises:
        UserError: another process holds it, and this one is not to wait.
    """
    if file.is_symlink():
        file.unlink()
    lock = FileLock(file)
    try:
        _acquire(lock)
    except Timeout:
        if not wait:
            raise UserError(busy)
        say(busy)
        lock.acquire()
    try:
        yield
    finally:
        if not keep:
            file.unlink(missing_ok=True)
        lock.release()


def _acquire(lock: FileLock) -> None:
    """Take a lock that is free; where the file system has none, go on without, saying so."""
    try:
        lock.acquire(timeout=PATIENCE_SECONDS)
    except OSError as error:
        if isinstance(error, Timeout) or error.errno not in NO_LOCKS:
            raise
        say(f"note: {Path(lock.lock_file).parent} is on a file system without locks; let no other process write there")


def is_held(file: Path) -> bool:
    """Return whether a process holds the lock on a file; nothing is written, and where it can't be told it is False."""
    try:
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return False
    try:
        return not _can_share(descriptor)
    finally:
        os.close(descriptor)


def _can_share(descriptor: int) -> bool:
    """Return whether no other process holds the lock on an open file for itself; closing the file ends the try."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True
