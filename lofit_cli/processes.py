"""The processes of one run, where torchrun or accelerate launch has started several: the first one leads."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from lofit_cli.errors import RunError, UserError

_joined = False

SECONDS_BETWEEN_SIGNALS = 0.2

LAUNCHED = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
"""What torchrun tells each process that it starts, and torch.distributed looks for."""


def num_processes() -> int:
    """Return how many processes share this run."""
    rank, size = (os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE"))
    is_launched = os.environ.keys() >= LAUNCHED and rank.isdecimal() and size.isdecimal() and int(rank) < int(size)
    return int(size) if is_launched else 1


def num_joined() -> int:
    """Return how many processes have found each other; a program of another's that calls ours may have its own ways."""
    return num_processes() if _joined else 1


def process_number() -> int:
    """Return this process's number, from 0; the leader's is 0."""
    return int(os.environ["RANK"]) if num_processes() > 1 else 0


def is_leader() -> bool:
    """Return whether this process writes the run and speaks for it."""
    return process_number() == 0


def meeting_place() -> str:
    """Return where the processes look for each other."""
    return f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"


def require_one_process(command: str) -> None:
    """Refuse a command whose work is not shared.

    Raises:
        UserError: there are several processes.
    """
    if num_processes() > 1:
        raise UserError(f"{command} is for one process; start it without torchrun or accelerate launch")


@contextmanager
def joined() -> Iterator[None]:
    """Let the processes of a run find each other, inside a `with` block.

    Raises:
        RunError: one of them does not come, or goes away.
    """
    if num_processes() == 1:
        yield
        return
    import torch.distributed as dist

    global _joined
    _meet()
    _joined = True
    try:
        yield
    finally:
        _joined = False
        dist.destroy_process_group()


def _meet() -> None:
    """Wait for the others in a thread, because torch's own wait would let no signal end this process."""
    import torch.distributed as dist

    failed: list[BaseException] = []

    def meet() -> None:
        try:
            dist.init_process_group()
        except Exception as error:
            failed.append(error)

    waiting = Thread(target=meet, daemon=True)
    waiting.start()
    while waiting.is_alive():
        waiting.join(SECONDS_BETWEEN_SIGNALS)
    for error in failed:
        raise RunError(
            f"the {num_processes()} processes of this run could not meet at {meeting_place()} ({_first_line(error)})"
        )


def _first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def is_of_another(error: Exception) -> bool:
    """Return whether an error says that another process of this run has gone: torch names what it was reached by."""
    is_networks = type(error).__name__.startswith("Dist") or "gloo" in str(error)
    return num_processes() > 1 and isinstance(error, RuntimeError) and is_networks


def lost_process(error: Exception) -> RunError:
    """Return what to tell where another process has gone, whose own message says why."""
    return RunError(f"another process of this run can't be reached ({_first_line(error)}); see what it said")
