"""Locks that keep two processes from writing the same thing; they end with the process that holds them."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lofit_cli.console import say
from lofit_cli.errors import UserError

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
        lock.acquire(timeout=0)
    except OSError as error:
        if isinstance(error, Timeout) or error.errno not in NO_LOCKS:
            raise
        say(f"note: {Path(lock.lock_file).parent} is on a file system without locks; let no other process write there")
