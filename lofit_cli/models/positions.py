"""Where the tokens of a forward pass stand, for edits that apply to some of them only."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lofit_cli.errors import UserError
from lofit_cli.models.hooks import hooked_call
from lofit_cli.schema.checks import FAR

ANSWER = -1

POSITIONS = ("all", "answer")
"""Where an edit can act: at all tokens, or at those from which an answer token is predicted."""


def prompt_distances(num_tokens: int, start: int) -> Sequence[int]:
    """Return the distance of each token of a sequence to its prompt's end.

    Args:
        start: index of the answer's first token.

    Returns:
        A number a token: 0 at the prompt's last one, 1 before it, and so on up to `FAR`; `ANSWER` in the answer.
    """
    return [max(ANSWER, min(FAR, start - 1 - index)) for index in range(num_tokens)]


@dataclass(frozen=True)
class TokenPositions:
    """Where each token of a forward pass stands.

    Attributes:
        positions: (batch, seq) index in its own sequence.
        distances: (batch, seq) to the prompt's end, as `prompt_distances` says.
    """

    positions: Tensor
    distances: Tensor

    def predict_answers(self) -> Tensor:
        """Return (batch, seq) bool: the tokens from which an answer token is predicted."""
        return self.distances <= 0

    def prompt_ends(self, num_first: int, num_last: int) -> Tensor:
        """Return (batch, seq) bool: the first and last tokens of the prompt."""
        prompt = self.distances > ANSWER
        return prompt & ((self.positions < num_first) | (self.distances < num_last))


class CurrentPositions:
    """The token positions of the forward pass under way: who calls the model states them, the edits' hooks read them.

    A forward pass inside another one states its own; outside of every one there are none.
    """

    def __init__(self) -> None:
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

    def read(self) -> TokenPositions:
        """Return where the tokens of the forward pass under way stand.

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
        return current

    @contextmanager
    def follow(self, model: nn.Module, attended: Tensor) -> Iterator[None]:
        """State where tokens stand, pass by pass, while `model.generate` runs on prompts that end together.

        Args:
            attended: (batch, longest prompt), 1 at tokens and 0 at pads.
        """
        num_pads = (attended == 0).sum(dim=1, keepdim=True)
        depth = len(self._stated)

        def state(inputs: dict[str, Any]) -> None:
            # A pass inside the pass has stated its own.
            if len(self._stated) > depth + 1:
                return
            cache = inputs.get("past_key_values")
            num_past = 0 if cache is None else cache.get_seq_length()
            index = torch.arange(num_past, num_past + inputs["input_ids"].shape[1], device=attended.device)
            positions = (index - num_pads).clamp(min=0)
            distances = (attended.shape[1] - 1 - index).clamp(ANSWER, FAR)
            self._stated[depth] = TokenPositions(positions, distances.expand_as(positions))

        self._stated.append(None)
        try:
            with hooked_call(model, state, first=True):
                yield
        finally:
            self._stated.pop()
