"""Prompt tuning: learnt vectors stand before every text, in the place of tokens' embeddings."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lofit_cli.errors import UserError
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.interventions.saved import require_settings, require_tensors
from lofit_cli.models.decoder import PLACE, Decoder
from lofit_cli.models.hooks import hooked_output
from lofit_cli.models.positions import with_first


class SoftPrompt(Intervention):
    """Vectors before every text and, in DePT, something of low rank added to the embeddings of its first tokens.

    The vectors stand in the place of tokens, so that they are packed, padded and cached as tokens are.

    Attributes:
        vectors: (num_vectors, hidden) float32.
        rows, columns: (num_shifted, rank) and (rank, hidden): their product is added to the embeddings of the first
            `num_shifted` tokens of the text itself; None in plain prompt tuning.
        low_rank_rate: the learning rate of `rows` and `columns`, in units of the vectors'.

    Source: prompt tuning, Lester et al. 2021 (arXiv 2104.08691), section 2; DePT, Shi and Lipani 2024 (arXiv
        2309.05173), equation 3, with two learning rates.
    """

    kind = "soft_prompt"

    def __init__(
        self, vectors: Tensor, rows: Tensor | None = None, columns: Tensor | None = None, low_rank_rate: float = 1.0
    ) -> None:
        super().__init__()
        self.vectors, self.low_rank_rate = nn.Parameter(vectors), low_rank_rate
        self.rows = None if rows is None else nn.Parameter(rows)
        self.columns = None if columns is None else nn.Parameter(columns)

    def rate_of(self, parameter: nn.Parameter) -> float:
        """Return a parameter's learning rate in units of the trainer's."""
        return 1.0 if parameter is self.vectors else self.low_rank_rate

    @contextmanager
    def attach(self, lm: Decoder) -> Iterator[None]:
        """Let every text begin with as many tokens as there are vectors, and put the vectors in their place."""

        def put(embedded: Tensor) -> Tensor:
            positions = lm.token_positions.read(embedded.device).positions
            shifted = embedded + self._shift(positions - len(self.vectors)).to(embedded.dtype)
            return with_first(self.vectors, positions, shifted)

        with lm.begun([PLACE] * len(self.vectors)), hooked_output(lm.model.get_input_embeddings(), put):
            yield

    def _shift(self, places: Tensor) -> Tensor:
        """Return what is added to the embeddings of tokens, told by their places in the text itself."""
        if self.rows is None or self.columns is None:
            return torch.zeros((), device=places.device)
        is_first = (places >= 0) & (places < len(self.rows))
        product = (self.rows @ self.columns).to(places.device)
        return is_first[..., None] * product[places.clamp(0, len(product) - 1)]

    def settings(self) -> dict[str, Any]:
        """Return none: its tensors are all there is."""
        return {}

    @classmethod
    def restore(cls, lm: Decoder, settings: dict[str, Any], tensors: dict[str, Tensor]) -> "SoftPrompt":
        """Make it again, refusing tensors that the model has no place for."""
        require_settings(settings)
        num_vectors, num_shifted, rank = (_num_rows(tensors, name) for name in ("vectors", "rows", "columns"))
        if not num_vectors or num_vectors >= lm.max_positions:
            raise UserError(f"it has {num_vectors} vectors, and must have 1 to {lm.max_positions - 1}")
        shapes = {"vectors": (num_vectors, lm.hidden_size)}
        if "rows" in tensors or "columns" in tensors:
            shapes |= {"rows": (num_shifted, rank), "columns": (rank, lm.hidden_size)}
        values = require_tensors(tensors, shapes)
        return cls(values["vectors"], values.get("rows"), values.get("columns"))


def _num_rows(tensors: dict[str, Tensor], name: str) -> int:
    return len(tensors[name]) if name in tensors and tensors[name].ndim else 0
