"""Several processes that share a run, as torchrun starts them, without the time that imports take."""

import os
import signal
import socket
from dataclasses import dataclass
from traceback import format_exception

from typer.testing import CliRunner

from lofit_cli.cli import app


@dataclass
class Ended:
    """How a process ended, and what it said."""

    exit_code: int
    said: str


def run_together(command, count=2, before=lambda number: None):
    """Run a command in several processes; return how each ended.

    The others are stopped where one fails, as torchrun does.

    Args:
        before: called with a process's number, in the process.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = [_start(number, count, port, command, before) for number in range(count)]
    ended = {}
    for _ in children:
        pid, status = os.wait()
        ended[pid] = status
        if status:
            for other in (child for child, _ in children if child not in ended):
                os.kill(other, signal.SIGTERM)
    return [_read(ended[pid], told) for pid, told in children]


def _read(status, told):
    with os.fdopen(told) as said:
        return Ended(os.waitstatus_to_exitcode(status), said.read())


def _start(number, count, port, command, before):
    read, write = os.pipe()
    child = os.fork()
    if child:
        os.close(write)
        return child, read
    try:
        place = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": count, "MASTER_PORT": port}
        os.environ |= {name: str(value) for name, value in place.items()} | {"MASTER_ADDR": "127.0.0.1"}
        before(number)
        found = CliRunner().invoke(app, command)
        crash = "" if isinstance(found.exception, SystemExit | None) else "".join(format_exception(found.exception))
        os.write(write, (found.output + crash).encode())
        os._exit(found.exit_code)
    finally:
        os._exit(99)
