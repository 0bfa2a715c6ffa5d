"""Where the tokens of a forward pass stand, for edits that apply to some of them only."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lofit_cli.models.hooks import hooked_call
from lofit_cli.schema.checks import FAR

ANSWER = -1

POSITIONS = ("all", "answer")
"""Where an edit can act: at all tokens, or at those from which an answer token is predicted."""


def token_places(num_tokens: int, start: int) -> Sequence[int]:
    """Return how far each token of a sequence is from the end of its prompt.

    Args:
        start: index of the answer's first token.

    Returns:
        A number a token: 0 at the prompt's last one, 1 before it, and so on up to `FAR`; `ANSWER` in the answer.
    """
    return [max(ANSWER, min(FAR, start - 1 - index)) for index in range(num_tokens)]


@dataclass(frozen=True)
class Places:
    """Where each token of a forward pass stands.

    Attributes:
        positions: (batch, seq) index in its own sequence.
        from_end: (batch, seq) as `token_places` says.
    """

    positions: Tensor
    from_end: Tensor

    def predict_answers(self) -> Tensor:
        """Return (batch, seq) bool: the tokens from which an answer token is predicted."""
        return self.from_end <= 0

    def prompt_ends(self, num_first: int, num_last: int) -> Tensor:
        """Return (batch, seq) bool: the first and last tokens of the prompt."""
        prompt = self.from_end > ANSWER
        return prompt & ((self.positions < num_first) | (self.from_end < num_last))


class PlaceBoard:
    """Where those who call the model write the places, and the edits' hooks read them."""

    def __init__(self) -> None:
        self._places: Places | None = None

    def write(self, positions: Tensor, from_end: Tensor) -> None:
        """State the places, both (batch, seq), of the forward pass to come."""
        self._places = Places(positions, from_end)

    def read(self) -> Places:
        """Return the places of the forward pass under way."""
        if self._places is None:
            raise RuntimeError("an edit of some positions needs to be told where tokens stand before a forward pass")
        return self._places

    @contextmanager
    def follow(self, model: nn.Module, attended: Tensor) -> Iterator[None]:
        """Keep the places up to date while `model.generate` runs on prompts padded on the left.

        Args:
            attended: (batch, longest prompt), 1 at tokens and 0 at pads.
        """
        num_pads = (attended == 0).sum(dim=1, keepdim=True)

        def tell(inputs: dict[str, Any]) -> None:
            cache = inputs.get("past_key_values")
            num_past = 0 if cache is None else cache.get_seq_length()
            index = torch.arange(num_past, num_past + inputs["input_ids"].shape[1], device=attended.device)
            positions = (index - num_pads).clamp(min=0)
            from_end = (attended.shape[1] - 1 - index).clamp(ANSWER, FAR)
            self.write(positions, from_end.expand_as(positions))

        with hooked_call(model, tell):
            yield
