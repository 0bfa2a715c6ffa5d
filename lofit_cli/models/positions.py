"""Where the tokens of a forward pass stand, for edits that apply to some of them only."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from lofit_cli.errors import UserError
from lofit_cli.schema.limits import ANSWER, FAR

POSITIONS = ("all", "answer", "prompt_end")
"""Where an edit can act: at all tokens, where an answer token is predicted, or at the prompt's last token."""


def with_first(vectors: Tensor, positions: Tensor, made: Tensor) -> Tensor:
    """Return what was made of tokens, with vectors in the place of what was made of the first ones of each sequence.

    Args:
        vectors: (num_vectors, width).
        positions: (batch, seq) index of each token in its own sequence.
        made: (batch, seq, width).
    """
    own = vectors.to(made.device, made.dtype)[positions.clamp(max=len(vectors) - 1)]
    return torch.where((positions < len(vectors))[..., None], own, made)


@dataclass(frozen=True)
class TokenPositions:
    """Where each token of a forward pass stands.

    Attributes:
        positions: (batch, seq) index in its own sequence.
        distances: (batch, seq) to the prompt's end, as `packing.prompt_distances` says.
    """

    positions: Tensor
    distances: Tensor

    def predict_answers(self) -> Tensor:
        """Return (batch, seq) bool: the tokens from which an answer token is predicted."""
        return self.distances <= 0

    def at(self, positions: str) -> Tensor:
        """Return (batch, seq) bool: the tokens at which an edit of these `POSITIONS` acts."""
        if positions == "all":
            return torch.ones_like(self.distances, dtype=torch.bool)
        return self.distances == 0 if positions == "prompt_end" else self.predict_answers()

    def prompt_ends(self, num_first: int, num_last: int) -> Tensor:
        """Return (batch, seq) bool: the first and last tokens of the prompt."""
        prompt = self.distances > ANSWER
        return prompt & ((self.positions < num_first) | (self.distances < num_last))


class CurrentPositions:
    """The token positions of the forward pass under way: who calls the model states them, the edits' hooks read them.

    A forward pass inside another one states its own; outside of every one there are none.

    Attributes:
        generates: whether the passes are those of a text that grows, rather than of texts that are there.
    """

    def __init__(self) -> None:
        self.generates = False
        self._stated: list[TokenPositions | None] = []

    @contextmanager
    def __call__(self, positions: Tensor, distances: Tensor) -> Iterator[None]:
        """State the positions and distances, both (batch, seq), of the forward pass inside a `with` block."""
        self._stated.append(TokenPositions(positions, distances))
        try:
            yield
        finally:
            self._stated.pop()

    def padded(self, starts: Sequence[int], tokens: Tensor) -> AbstractContextManager[None]:
        """State where `tokens`, (batch, seq) padded on the right, stand.

        Args:
            starts: index of each answer's first token.
        """
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        first = torch.tensor(starts).to(tokens.device, non_blocking=True)
        distances = (first[:, None] - 1 - positions).clamp(ANSWER, FAR)
        return self(positions.expand_as(distances), distances)

    def read(self, device: torch.device | None = None) -> TokenPositions:
        """Return where the tokens of the forward pass under way stand, on the device of the layer that asks.

        Raises:
            UserError: it is not one of ours, and nobody has said.
        """
        current = self._stated[-1] if self._stated else None
        if current is None:
            raise UserError(
                "what is attached to the model needs to know where each prompt begins and ends, and lm.model(...) and "
                "lm.model.generate(...) do not say; call lm.generate(prompts, max_new_tokens=...) for text, or "
                "score_answers(lm, items) for log-probabilities"
            )
        if device is None:
            return current
        return TokenPositions(current.positions.to(device), current.distances.to(device))

    @contextmanager
    def each_pass(self) -> Iterator[Callable[[Tensor, Tensor], None]]:
        """Yield a function that states positions and distances before each pass of generation in a `with` block.

        A pass inside such a pass states its own.
        """
        depth = len(self._stated)

        def state(positions: Tensor, distances: Tensor) -> None:
            if len(self._stated) == depth + 1:
                self._stated[depth] = TokenPositions(positions, distances)

        self._stated.append(None)
        self.generates = True
        try:
            yield state
        finally:
            self.generates = False
            self._stated.pop()
