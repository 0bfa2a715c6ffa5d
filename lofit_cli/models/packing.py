"""Prefix-tree rows: token sequences laid out so that a common beginning is computed once.

The answers to a question share its prompt, and answers often share their first words. A row is a forest: a node is a
token, its parent the token before it, and a node sees its ancestors only, so unrelated prompts share a row as well.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from lofit_cli.schema.limits import ANSWER, FAR

Tokens = TypeVar("Tokens", tuple[int, ...], list[int])


@dataclass(frozen=True)
class TokenSequence:
    """The tokens of a prompt with one answer; those from `start` on belong to the answer."""

    tokens: tuple[int, ...]
    start: int

    def after(self, beginning: Sequence[int]) -> "TokenSequence":
        """Return the sequence with tokens before its prompt."""
        return TokenSequence((*beginning, *self.tokens), len(beginning) + self.start) if beginning else self


def common_length(sequences: Sequence[Tokens]) -> int:
    """Return how many first tokens all sequences share."""
    # What the first and the last in order share, all between them share as well.
    first, last = min(sequences), max(sequences)
    return next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))


def shared_prefix_length(sequences: Sequence[TokenSequence]) -> int:
    """Return how many first tokens all sequences share, short of those near any prompt's end."""
    shared = common_length([s.tokens for s in sequences])
    return max(0, min(shared, min(s.start for s in sequences) - FAR))


def prompt_distances(num_tokens: int, start: int) -> Sequence[int]:
    """Return the distance of each token of a sequence to its prompt's end.

    Args:
        start: index of the answer's first token.

    Returns:
        A number a token: 0 at the prompt's last one, 1 before it, and so on up to `FAR`; `ANSWER` in the answer.
    """
    return [max(ANSWER, min(FAR, start - 1 - index)) for index in range(num_tokens)]


@dataclass(frozen=True)
class PackedRow:
    """A forest of token sequences, as tensors. n nodes, m nodes that predict an answer token, e scored tokens.

    The last token of a sequence predicts nothing that is asked for, so it is no node.

    Attributes:
        tokens: (n,) token ids, parents before children.
        positions: (n,) position of each token in its own sequence.
        distances: (n,) of each token to its prompt's end, as `prompt_distances` says.
        order, last: (n,) number of each node in a walk from parents to children, and of the last one beneath it.
        predictors: (m,) nodes whose logits are needed.
        scored_from: (e,) index into `predictors`: who predicts the scored token; in ascending order.
        scored_tokens: (e,) the token predicted.
        sequence_scored: (num_sequences, longest answer) indices into the e scored tokens, padded with -1.
        num_positions: how many positions the longest sequence has.
        paths: for each sequence (its length,) nodes, from the first token to the last but one.
        parents: of each node the one before it in its sequence, -1 for none.
    """

    tokens: Tensor
    positions: Tensor
    distances: Tensor
    order: Tensor
    last: Tensor
    predictors: Tensor
    scored_from: Tensor
    scored_tokens: Tensor
    sequence_scored: Tensor
    num_positions: int
    paths: list[Tensor]
    parents: list[int]

    def visible(self) -> Tensor:
        """Return (n, n) bool: row i is True at the ancestors of node i and at i itself."""
        return (self.order <= self.order[:, None]) & (self.order[:, None] <= self.last)

    def to(self, device: torch.device) -> "PackedRow":
        """Return the row on a device, without waiting for what the device has still to do."""
        tensors = ((name, value) for name, value in vars(self).items() if isinstance(value, Tensor))
        moved: dict[str, Any] = {name: value.to(device, non_blocking=True) for name, value in tensors}
        return replace(self, **moved)


def pack_row(sequences: Sequence[TokenSequence], prefix_length: int = 0) -> PackedRow:
    """Lay out sequences as one row, leaving out their first `prefix_length` tokens (which a cache holds)."""
    forest = _Forest()
    paths = [forest.add(sequence, prefix_length) for sequence in sequences]
    places = [_places(path, sequence) for path, sequence in zip(paths, sequences, strict=True)]
    scored = {place: i for i, place in enumerate(sorted({place for answer in places for place in answer}))}
    answers = [[scored[place] for place in answer] for answer in places]
    predictors = sorted({node for node, _ in scored})
    predictor_index = {node: i for i, node in enumerate(predictors)}
    longest = max(len(answer) for answer in answers)
    order, last = forest.walk()
    return PackedRow(
        tokens=torch.tensor(forest.tokens),
        positions=torch.tensor(forest.depths) + prefix_length,
        distances=torch.tensor(forest.distances),
        order=order,
        last=last,
        predictors=torch.tensor(predictors),
        scored_from=torch.tensor([predictor_index[node] for node, _ in scored]),
        scored_tokens=torch.tensor([token for _, token in scored]),
        sequence_scored=torch.tensor([answer + [-1] * (longest - len(answer)) for answer in answers]),
        num_positions=max(len(s.tokens) for s in sequences) - 1,
        paths=[torch.tensor(path) for path in paths],
        parents=forest.parents,
    )


def _places(path: Sequence[int], sequence: TokenSequence) -> list[tuple[int, int]]:
    """Return each token of a sequence's answer behind the node that predicts it.

    Args:
        path: the nodes of the sequence, those of a cached beginning left out.
    """
    answer = sequence.tokens[sequence.start :]
    return list(zip(path[-len(answer) :], answer, strict=True))


def group_rows(
    items: Iterable[list[TokenSequence]], max_tokens: int, prefix_length: int = 0
) -> Iterator[list[list[TokenSequence]]]:
    """Yield runs of consecutive items that fit a row, as many as there is room for past the prefix."""
    group: list[list[TokenSequence]] = []
    forest = _Forest()
    for item in items:
        for sequence in item:
            forest.add(sequence, prefix_length)
        if group and len(forest.tokens) > max_tokens:
            yield group
            group, forest = [], _Forest()
            for sequence in item:
                forest.add(sequence, prefix_length)
        group.append(item)
    if group:
        yield group


def group_padded(sequences: Iterable[TokenSequence], max_tokens: int) -> Iterator[list[TokenSequence]]:
    """Yield runs of consecutive sequences that fit a batch, each counted as long as the longest of its run."""
    group: list[TokenSequence] = []
    longest = 0
    for sequence in sequences:
        longest = max(longest, len(sequence.tokens))
        if group and longest * (len(group) + 1) > max_tokens:
            yield group
            group, longest = [], len(sequence.tokens)
        group.append(sequence)
    if group:
        yield group


class _Forest:
    """A growing set of prefix trees; nodes are numbered in order of insertion."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.depths: list[int] = []
        self.distances: list[int] = []
        self.parents: list[int] = []
        self._children: dict[tuple[int, int, int], int] = {}

    def add(self, sequence: TokenSequence, prefix_length: int) -> list[int]:
        """Add a sequence past the prefix, and return its nodes, from the first token to the last but one.

        Equal tokens that stand at different distances from their prompts' ends are different nodes, because an edit
        may treat them differently.
        """
        path = []
        parent = -1
        tokens = sequence.tokens[prefix_length:-1]
        distances = prompt_distances(len(tokens), sequence.start - prefix_length)
        for depth, (token, distance) in enumerate(zip(tokens, distances, strict=True)):
            node = self._children.setdefault((parent, token, distance), len(self.tokens))
            if node == len(self.tokens):
                self.tokens.append(token)
                self.depths.append(depth)
                self.distances.append(distance)
                self.parents.append(parent)
            path.append(node)
            parent = node
        return path

    def walk(self) -> tuple[Tensor, Tensor]:
        """Return, for each node, its number in a walk in depth first, and that of the last node beneath it.

        The nodes beneath one follow it without a gap, so two numbers a node say all of who descends from whom.
        """
        sizes = [1] * len(self.parents)
        for node in reversed(range(len(self.parents))):
            if self.parents[node] >= 0:
                sizes[self.parents[node]] += sizes[node]
        order: list[int] = []
        free: list[int] = []
        next_root = 0
        for node, parent in enumerate(self.parents):
            number = next_root if parent < 0 else free[parent]
            next_root += sizes[node] if parent < 0 else 0
            if parent >= 0:
                free[parent] += sizes[node]
            order.append(number)
            free.append(number + 1)
        return torch.tensor(order), torch.tensor(order) + torch.tensor(sizes) - 1
