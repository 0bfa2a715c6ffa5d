"""Work that the processes of a run share, and what they tell each other.

Each process runs the same command and so makes the same decisions, except those that depend on what is in the run
directory, which the leader makes for all (`led`). Nothing is pickled between them.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from lofit_cli.errors import RunError, UserError
from lofit_cli.processes import is_leader, lost_process, num_joined, process_number

if TYPE_CHECKING:
    from torch import Tensor

Part = TypeVar("Part")
Result = TypeVar("Result")
Item = TypeVar("Item")

_sharing = True


def share_items(is_possible: bool) -> None:
    """Say whether each process has a whole model and so can take some items; else all compute all of them together."""
    global _sharing
    _sharing = is_possible


def shares_items() -> bool:
    """Return whether each process takes some of the items."""
    return _sharing


def _num_sharing() -> int:
    return num_joined() if _sharing else 1


def share_out(
    parts: Sequence[Part],
    compute: Callable[[Part], Result | Callable[[], Result]],
    write: Callable[[Result], Any],
    read: Callable[[Any], Result],
) -> Iterator[tuple[Part, Result]]:
    """Yield each part with what was computed of it, in order; of several processes each computes some.

    Args:
        compute: returns a result, or what fetches it: a device may still be at it while the next part is prepared.
        write: turns a result into what JSON can hold, exactly.
        read: turns that into the result.

    Raises:
        UserError: as `compute` said, in whichever process.
    """
    if _num_sharing() == 1:
        yield from _one_ahead(parts, compute)
        return
    for first in range(0, len(parts), _num_sharing()):
        together = parts[first : first + _num_sharing()]
        results = _exchange(partial(_compute, together[process_number() : process_number() + 1], compute, write))
        yield from zip(together, [read(result) for found in results for result in found], strict=True)


def _one_ahead(parts: Sequence[Part], compute: Callable[[Part], Any]) -> Iterator[tuple[Part, Any]]:
    """Yield each part with its result, which is fetched once the next one is under way."""
    before: list[tuple[Part, Any]] = []
    for part in parts:
        before.append((part, compute(part)))
        if len(before) > 1:
            yield before[0][0], _fetched(before.pop(0)[1])
    yield from ((part, _fetched(result)) for part, result in before)


def _fetched(result: Any) -> Any:
    return result() if callable(result) else result


def _compute(parts: Sequence[Part], compute: Callable[[Part], Any], write: Callable[[Any], Any]) -> list[Any]:
    return [write(_fetched(compute(part))) for part in parts]


def led(decide: Callable[[], Result]) -> Result:
    """Return what the leader decides, in each process; its value, or its error, is the others' too.

    Raises:
        UserError: as `decide` said.
    """
    return decide() if num_joined() == 1 else _exchange(lambda: decide() if is_leader() else None)[0]


def gathered(find: Callable[[], Result]) -> list[Result]:
    """Return what each process finds, which JSON can hold, in their order.

    Raises:
        UserError: as `find` said, in whichever process.
    """
    return [find()] if num_joined() == 1 else _exchange(find)


def all_do(act: Callable[[], Result]) -> Result:
    """Return what this process finds, where none of them fails.

    Raises:
        UserError: as `act` said, in whichever process.
    """
    found: list[Result] = []
    gathered(lambda: found.append(act()))
    return found[0]


def require_same(what: str, find: Callable[[], Any]) -> None:
    """Refuse to go on where the processes differ in what they must have in common.

    Args:
        find: returns it, as JSON can hold it.

    Raises:
        RunError: they differ.
    """
    if num_joined() > 1 and len({json.dumps(found) for found in _exchange(find)}) > 1:
        raise RunError(
            f"the processes of this run differ in {what}; start all of them with the same files and versions"
        )


def _exchange(compute: Callable[[], Any]) -> list[Any]:
    """Return what each process has computed, in their order; raise the first error of any."""
    try:
        told = {"value": compute()}
    except UserError as error:
        told = {"error": str(error), "exit_code": error.exit_code}
    found = [json.loads(text) for text in _gather(json.dumps(told).encode())]
    for failed in (other for other in found if "error" in other):
        shared = (RunError if failed["exit_code"] == RunError.exit_code else UserError)(failed["error"])
        shared.is_shared = True
        raise shared
    return [other["value"] for other in found]


def _gather(text: bytes) -> list[bytes]:
    """Return every process's bytes, in their order."""
    import torch
    import torch.distributed as dist

    lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(num_joined())]
    with _together():
        dist.all_gather(lengths, torch.tensor([len(text)]))
        padded = torch.zeros(max(int(length) for length in lengths), dtype=torch.uint8)
        padded[: len(text)] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        found = [torch.zeros_like(padded) for _ in lengths]
        dist.all_gather(found, padded)
    return [bytes(other[: int(length)].tolist()) for other, length in zip(found, lengths, strict=True)]


def own_share(items: Sequence[Item], size: Callable[[Item], int]) -> Sequence[Item]:
    """Return the items of this process: dealt out by size, so that all processes have about as much to do."""
    if _num_sharing() == 1:
        return items
    return sorted(items, key=size, reverse=True)[process_number() :: _num_sharing()]


def add_up(numbers: Sequence[float], tensors: "Sequence[Tensor]" = ()) -> list[float]:
    """Return the sums of numbers over all that share items, and make each tensor the sum of theirs, in one exchange.

    Args:
        tensors: float32, on one device; changed in place.
    """
    if _num_sharing() == 1:
        return list(numbers)
    import torch
    import torch.distributed as dist

    device = tensors[0].device if tensors else torch.device("cpu")
    flat = torch.cat([torch.tensor(numbers, device=device), *(tensor.reshape(-1) for tensor in tensors)])
    with _together():
        dist.all_reduce(flat)
    sums, *parts = flat.split([len(numbers), *(tensor.numel() for tensor in tensors)])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view_as(tensor))
    return [float(total) for total in sums]


@contextmanager
def _together() -> Iterator[None]:
    """Say in one sentence that another process has gone, whose own message says why."""
    try:
        yield
    except RuntimeError as error:
        raise lost_process(error)
