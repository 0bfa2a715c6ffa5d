"""Stages one after another in one process, so that a model is loaded once: `once.sh` starts this and talks to it.

python scripts/one_process.py WORDS STATUSES

From the pipe WORDS it reads a command at a time: how many words it has, then STAGE KEY=VALUE ..., NUL after each. Into
the pipe STATUSES it writes a line with the exit status of each. It ends when nobody writes any more; where the script
that started it was ended, the stage under way is interrupted.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from lofit_cli.cli import app

LOOK_SECONDS = 0.5


def read_commands(words: BinaryIO) -> Iterator[list[str]]:
    """Yield the words of each command."""
    text, count = b"", -1
    found: list[str] = []
    while byte := words.read(1):
        if byte != b"\0":
            text += byte
            continue
        word, text = text.decode(errors="surrogateescape"), b""
        if count < 0:
            count = int(word)
        else:
            found.append(word)
        if len(found) == count:
            yield found
            found, count = [], -1


def run(command: list[str]) -> int:
    """Run a stage and return its exit status."""
    try:
        app(command)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def stop_with(parent: int) -> None:
    """Ask this process to stop once the one that started it is gone, however that was ended."""
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Run what is asked for until nobody asks any more."""
    threading.Thread(target=stop_with, args=(os.getppid(),), daemon=True).start()
    with Path(sys.argv[1]).open("rb", buffering=0) as words, Path(sys.argv[2]).open("w") as statuses:
        for command in read_commands(words):
            status = run(command)
            sys.stdout.flush()
            print(status, file=statuses, flush=True)


if __name__ == "__main__":
    main()
