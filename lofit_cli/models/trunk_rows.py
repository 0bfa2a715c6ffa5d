"""A trunk that is filled before training: whether a model can begin above it, and what it gives for rows."""

from collections.abc import Iterator, Sequence
from contextlib import suppress

import torch
from torch import Tensor

from lofit_cli.models.decoder import Decoder
from lofit_cli.models.forward import packed_logprobs
from lofit_cli.models.hooks import hooked_input
from lofit_cli.models.memory import free_memory, if_possible
from lofit_cli.models.packing import PackedRow, TokenSequence, pack_row
from lofit_cli.models.packing_probe import make_probe
from lofit_cli.models.trunk import Trunk
from lofit_cli.processes import num_joined

SHARE_OF_MEMORY = 4
"""What is kept takes this part of the machine's free memory at most."""

Row = Sequence[TokenSequence]
"""The sequences of a row."""


def open_trunk(lm: Decoder, num_layers: int) -> Trunk | None:
    """Return a trunk of so many layers; None where rows that begin above it give anything but what whole rows give.

    Several processes that share items do without: each would have to fill it with all items for its part of them.
    """
    if not num_layers or lm.batching != "packed" or num_joined() > 1:
        return None
    room = (free_memory(torch.device("cpu")) or 0) // SHARE_OF_MEMORY
    trunk = Trunk(lm.layers[:num_layers], room)
    return trunk if if_possible(lambda: _gives_the_same(lm, trunk.emptied())) else None


def _gives_the_same(lm: Decoder, trunk: Trunk) -> bool:
    """Return whether rows above an empty trunk give what they gave as it was filled; errors as of the family's code."""
    probe = make_probe(lm)
    texts = probe.siblings, [probe.follower, probe.cousin]
    with torch.no_grad(), lm.keeping(trunk):
        # All are passed before any is passed again: what a layer leaves behind for another must not be enough.
        whole, above = ([packed_logprobs(lm, text, None) for text in texts] for _ in range(2))
        return all(a.equal(b) for a, b in zip(whole, above, strict=True))


class _AboveError(Exception):
    """A forward pass has come above the trunk."""


def fill_trunk(lm: Decoder, trunk: Trunk, row: Row) -> None:
    """Let a trunk keep what it gives for a row that it does not know, and compute nothing above it."""
    if knows_row(trunk, row):
        return

    def stop(hidden: Tensor) -> None:
        raise _AboveError

    with torch.no_grad(), suppress(_AboveError), hooked_input(lm.layers[len(trunk.layers)], stop), lm.keeping(trunk):
        packed_logprobs(lm, row, None)


def num_bytes(lm: Decoder, rows: Sequence[Row]) -> int:
    """Return how much memory what a trunk gives for these rows takes."""
    return sum(len(pack_row(row).tokens) for row in rows) * lm.hidden_size * lm.model.dtype.itemsize


def knows_row(trunk: Trunk, row: Row) -> bool:
    """Return whether a row can begin above the trunk."""
    return trunk.knows((sequence, 0) for sequence in row)


def row_states(trunk: Trunk, rows: Sequence[Row]) -> Tensor:
    """Return the hidden states of rows that are known, one below another, (nodes, hidden)."""
    return torch.cat([trunk.find(keys, row.paths, len(row.tokens)) for row, keys in _packed(rows)])


def put_states(trunk: Trunk, rows: Sequence[Row], hidden: Tensor) -> None:
    """Keep the hidden states of rows, as `row_states` gave them."""
    first = 0
    for row, keys in _packed(rows):
        trunk.add(hidden[first : first + len(row.tokens)], keys, row.paths)
        first += len(row.tokens)


def _packed(rows: Sequence[Row]) -> Iterator[tuple[PackedRow, list[tuple[TokenSequence, int]]]]:
    """Yield each row laid out, with what its sequences are known by: themselves, behind no cached beginning."""
    return ((pack_row(row), [(sequence, 0) for sequence in row]) for row in rows)
