"""The layers below the lowest edited one: frozen, so that what they make of a text need not be computed again."""

from collections.abc import Hashable, Iterable, Sequence

import torch
from torch import Tensor, nn


class Trunk:
    """Hidden states after the lowest layers, in the memory of the machine, by sequence.

    Attributes:
        layers: the lowest ones.
        room: how many bytes more there is room for.
    """

    def __init__(self, layers: Sequence[nn.Module], room: int) -> None:
        self.layers = layers
        self.room = room
        self._rows: list[Tensor] = []
        self._places: dict[Hashable, tuple[int, Tensor]] = {}

    def emptied(self) -> "Trunk":
        """Return a trunk of the same layers and room that keeps nothing yet."""
        return Trunk(self.layers, self.room)

    def knows(self, sequences: Iterable[Hashable]) -> bool:
        """Return whether it has the hidden states of all these sequences."""
        return all(sequence in self._places for sequence in sequences)

    def add(self, hidden: Tensor, sequences: Iterable[Hashable], paths: Iterable[Tensor]) -> None:
        """Keep the hidden states of a row, (nodes, hidden) on the CPU, and where in it each sequence's own are."""
        self.room -= hidden.nbytes
        self._rows.append(hidden)
        for sequence, path in zip(sequences, paths, strict=True):
            self._places.setdefault(sequence, (len(self._rows) - 1, path))

    def find(self, sequences: Sequence[Hashable], paths: Sequence[Tensor], num_nodes: int) -> Tensor:
        """Return the hidden states of a row whose sequences are all known, (nodes, hidden)."""
        found = torch.cat([self._rows[number][path] for number, path in map(self._places.__getitem__, sequences)])
        return found.new_empty(num_nodes, found.shape[-1]).index_copy(0, torch.cat(list(paths)), found)
