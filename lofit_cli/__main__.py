"""The `lofit` command: an interrupt is answered in a sentence, however early it comes."""

import os
import signal
import sys
from typing import NoReturn


def main() -> None:
    """Import the command line, which takes a moment, and run it."""
    signal.signal(signal.SIGINT, _stop)
    from lofit_cli.cli import app

    app()


def _stop(number: int, frame: object) -> NoReturn:
    """Say so and leave at once; a stage that runs has a handler of its own, which keeps what was written."""
    sys.stderr.write("lofit: interrupted\n")
    sys.stderr.flush()
    os._exit(130)


if __name__ == "__main__":
    main()
