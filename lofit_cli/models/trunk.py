"""The layers below the lowest edited one: frozen, so that what they make of a text need not be computed again."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from lofit_cli.models.hooks import hooked_output, replaced
from lofit_cli.models.packing import PackedRow, TokenSequence, pack_row


class Trunk:
    """Hidden states after the lowest layers, in the memory of the machine, from when they were first computed.

    A row of which every sequence is known begins above these layers. Of any other, what they give is kept, as long as
    there is room.
    """

    def __init__(self, layers: Sequence[nn.Module], max_bytes: int) -> None:
        self._layers = layers
        self._room = max_bytes
        self._rows: list[Tensor] = []
        self._places: dict[tuple[TokenSequence, int], tuple[int, Tensor]] = {}

    def emptied(self) -> "Trunk":
        """Return a trunk of the same layers and room that keeps nothing yet."""
        return Trunk(self._layers, self._room)

    @property
    def num_layers(self) -> int:
        """Return how many layers it has."""
        return len(self._layers)

    def knows(self, sequences: Sequence[TokenSequence], prefix_length: int = 0) -> bool:
        """Return whether it has what it gives for all of these sequences."""
        return all((sequence, prefix_length) in self._places for sequence in sequences)

    def has_room(self, rows: Sequence[Sequence[TokenSequence]], bytes_a_token: int) -> bool:
        """Return whether what it gives for these rows can be kept."""
        return sum(len(pack_row(sequences).tokens) for sequences in rows) * bytes_a_token <= self._room

    def states(self, rows: Sequence[Sequence[TokenSequence]]) -> Tensor:
        """Return the hidden states of rows of which every sequence is known, (nodes of all rows, hidden)."""
        return torch.cat([self._find(pack_row(row), [(sequence, 0) for sequence in row])[0] for row in rows])

    def put(self, rows: Sequence[Sequence[TokenSequence]], hidden: Tensor) -> None:
        """Keep the hidden states of rows, as `states` gave them."""
        first = 0
        for sequences in rows:
            row = pack_row(sequences)
            self._add(hidden[first : first + len(row.tokens)], row, [(sequence, 0) for sequence in sequences])
            first += len(row.tokens)

    @contextmanager
    def passed(self, row: PackedRow, sequences: Sequence[TokenSequence], prefix_length: int) -> Iterator[None]:
        """Let the forward pass of a row inside a `with` block begin above the trunk, or fill the trunk."""
        keys = [(sequence, prefix_length) for sequence in sequences]
        with ExitStack() as stack:
            if self.knows(sequences, prefix_length):
                hidden = self._find(row, keys)
                for layer in self._layers[:-1]:
                    stack.enter_context(replaced(layer, lambda below: below))
                stack.enter_context(replaced(self._layers[-1], lambda below: hidden.to(below.device)))
            else:
                stack.enter_context(hooked_output(self._layers[-1], lambda hidden: self._keep(hidden, row, keys)))
            yield

    def _keep(self, hidden: Tensor, row: PackedRow, keys: Sequence[tuple[TokenSequence, int]]) -> None:
        if hidden.nbytes <= self._room:
            # What is kept while measuring is trained on as well, which a tensor of inference mode does not allow.
            with torch.inference_mode(False):
                self._add(hidden.detach()[0].to("cpu", copy=True), row, keys)

    def _add(self, hidden: Tensor, row: PackedRow, keys: Sequence[tuple[TokenSequence, int]]) -> None:
        self._room -= hidden.nbytes
        self._rows.append(hidden)
        for key, path in zip(keys, row.paths, strict=True):
            self._places.setdefault(key, (len(self._rows) - 1, path))

    def _find(self, row: PackedRow, keys: Sequence[tuple[TokenSequence, int]]) -> Tensor:
        """Return the hidden states of a row whose sequences are known, (1, nodes, hidden)."""
        found = torch.cat([self._rows[number][path] for number, path in map(self._places.__getitem__, keys)])
        hidden = found.new_empty(len(row.tokens), found.shape[-1])
        return hidden.index_copy(0, torch.cat(row.paths), found)[None]
