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

    Attributes:
        tokens: (n,) token ids, parents before children.
        positions: (n,) position of each token in its own sequence.
        distances: (n,) of each token to its prompt's end, as `prompt_distances` says.
        order, last: (n,) number of each node in a walk from parents to children, and of the last one beneath it.
        predictors: (m,) nodes whose logits are needed.
        scored_from: (e,) index into `predictors`: who predicts the scored token.
        scored_tokens: (e,) the token predicted.
        sequence_scored: (num_sequences, longest answer) indices into the e scored tokens, padded with -1.
        num_positions: how many positions the longest sequence has.
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
    paths = [forest.insert(s.tokens[prefix_length:], s.start - prefix_length) for s in sequences]
    answers = [path[s.start - prefix_length :] for path, s in zip(paths, sequences, strict=True)]
    scored = sorted({node for answer in answers for node in answer})
    predictors = sorted({forest.parents[node] for node in scored})
    predictor_index = {node: i for i, node in enumerate(predictors)}
    scored_index = {node: i for i, node in enumerate(scored)}
    longest = max(len(answer) for answer in answers)
    order, last = forest.walk()
    padded = [[scored_index[n] for n in answer] + [-1] * (longest - len(answer)) for answer in answers]
    return PackedRow(
        tokens=torch.tensor(forest.tokens),
        positions=torch.tensor(forest.depths) + prefix_length,
        distances=torch.tensor(forest.distances),
        order=order,
        last=last,
        predictors=torch.tensor(predictors),
        scored_from=torch.tensor([predictor_index[forest.parents[node]] for node in scored]),
        scored_tokens=torch.tensor([forest.tokens[node] for node in scored]),
        sequence_scored=torch.tensor(padded),
        num_positions=max(len(s.tokens) for s in sequences),
    )


def group_rows(
    items: Iterable[list[TokenSequence]], max_tokens: int, prefix_length: int = 0
) -> Iterator[list[list[TokenSequence]]]:
    """Yield runs of consecutive items that fit a row, each counted as its prompt past the prefix and its answers."""
    group: list[list[TokenSequence]] = []
    size = 0
    for item in items:
        tokens = item[0].start - prefix_length + sum(len(s.tokens) - s.start for s in item)
        if group and size + tokens > max_tokens:
            yield group
            group, size = [], 0
        group.append(item)
        size += tokens
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

    def insert(self, tokens: Sequence[int], start: int) -> list[int]:
        """Add a sequence, whose answer begins at `start`, and return its nodes, from the first token to the last.

        Equal tokens that stand at different distances from their prompts' ends are different nodes, because an edit
        may treat them differently.
        """
        path = []
        parent = -1
        for depth, (token, distance) in enumerate(zip(tokens, prompt_distances(len(tokens), start), strict=True)):
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
