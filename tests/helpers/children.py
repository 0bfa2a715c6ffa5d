"""Functions run in a copy of this process, so that what they break of it stays there."""

import ctypes
import json
import os
import traceback
from pathlib import Path

from typer.testing import CliRunner

from lofit_cli.cli import app

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 0x1, 0x20, 0x1000, 0x4000, 0x40000
CAPABILITIES_VERSION_3 = 0x20080522
CAN_PASS_OVER_MODES = 0b1111
"""Of a process's capabilities, CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH and FOWNER: see capabilities(7)."""


def start(function, *arguments):
    """Start a function in a copy of this process; return what `end` waits for."""
    read, write = os.pipe()
    if child := os.fork():
        os.close(write)
        return child, read
    os.close(read)
    try:
        told = {"value": function(*arguments)}
    except BaseException:
        told = {"error": traceback.format_exc()}
    with os.fdopen(write, "w") as pipe:
        json.dump(told, pipe)
    os._exit(0)


def end(started):
    """Return what a started function returned; fail with what it raised, or where it was killed return None."""
    child, read = started
    with os.fdopen(read) as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return None
    found = json.loads(told)
    assert "error" not in found, found["error"]
    return found["value"]


def in_child(function, *arguments):
    """Return what a function returns in a copy of this process."""
    return end(start(function, *arguments))


def invoke(command, typed=None):
    """Run a command; return its exit code and what it said, or fail where it ends in a traceback."""
    found = CliRunner().invoke(app, [str(word) for word in command], input=typed, env={"COLUMNS": "500"})
    said = found.output if found.stderr in found.output else found.output + found.stderr
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise AssertionError(said) from found.exception
    assert "Traceback" not in said, said
    return found.exit_code, said


def refused(command, *words, codes=(1, 2)):
    """Run a command that must end in one sentence of ours, with these words in it; return the sentence."""
    code, said = invoke(command)
    sentence = said.rstrip().rpartition("\n")[2]
    assert code in codes, said
    assert sentence.startswith("lofit: "), said
    assert all(word in sentence for word in words), (words, said)
    return sentence


def obey_modes():
    """Let this process, though it is root's, write and read only what the modes of files allow it."""
    header = (ctypes.c_uint32 * 2)(CAPABILITIES_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, sets) == 0
    sets[0] &= ~CAN_PASS_OVER_MODES
    assert libc.capset(header, sets) == 0


def own_mounts():
    """Give this process mounts of its own; return whether it may have them."""
    libc, user, group = ctypes.CDLL(None, use_errno=True), os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWNS) != 0:
        if libc.unshare(CLONE_NEWNS | CLONE_NEWUSER) != 0:
            return False
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
            Path("/proc/self", name).write_text(text)
    return mount("none", "/", "", MS_REC | MS_PRIVATE)


def mount(source, target, kind, flags, settings=""):
    """Mount a file system; return whether that is allowed here."""
    words = [str(word).encode() for word in (source, target, kind)]
    return ctypes.CDLL(None).mount(*words, ctypes.c_ulong(flags), settings.encode()) == 0


def make_read_only(folder):
    """Mount a folder over itself so that nothing can be written there, whatever its modes."""
    return mount(folder, folder, "", MS_BIND) and mount("none", folder, "", MS_BIND | MS_REMOUNT | MS_RDONLY)
