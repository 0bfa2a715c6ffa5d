"""Disks that fill and turn read-only at a chosen moment of a command: just before a file operation."""

import errno
import os
import resource
import signal
import sys
from pathlib import Path

CHANGES = ("os.rename", "os.mkdir", "os.link", "os.truncate")
"""What Python tells an audit hook of that needs room on a disk, beside opening a file to write it."""
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
LEFT = 40
"""Bytes that a file may have when the disk is full: a line or a part of one, so that writes are short."""


class Disk:
    """Counts the file operations on a folder, and from one of them on refuses all that change something.

    It is for a process that ends with its test: an audit hook is never taken off again.
    """

    def __init__(self, folder, moment, number, events=CHANGES):
        self.folder, self.moment, self.number = str(Path(folder).resolve()), moment, number
        self.count, self.is_mended, self.events = 0, False, events
        sys.addaudithook(self._watch)
        fsync = os.fsync
        os.fsync = lambda descriptor: (self._pass(Path(f"/proc/self/fd/{descriptor}").readlink()), fsync(descriptor))[1]
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def mend(self):
        self.is_mended = True
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def _watch(self, event, arguments):
        if event == "open" and arguments[2] & WRITES:
            self._pass(arguments[0])
        elif event in self.events:
            self._pass(arguments[1] if event in ("os.rename", "os.link") else arguments[0])

    def _pass(self, path):
        if self.is_mended or not isinstance(path, str | os.PathLike):
            return
        if not str(Path.cwd() / path).startswith(self.folder):
            return
        self.count += 1
        if self.moment is None or self.count < self.moment:
            return
        if self.number == errno.ENOSPC:
            # What libraries write without Python's help stops as well.
            resource.setrlimit(resource.RLIMIT_FSIZE, (LEFT, resource.RLIM_INFINITY))
        raise OSError(self.number, os.strerror(self.number), str(path))
