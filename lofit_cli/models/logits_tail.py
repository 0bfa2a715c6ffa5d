"""What a model makes of its last hidden states."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LogitsTail:
    """What a model does after its last norm: its output embeddings, then perhaps a cap.

    Attributes:
        cap: the size that logits approach and never reach, `cap * tanh(logits / cap)`; None without one.
    """

    cap: float | None

    def bend(self, logits: Tensor) -> Tensor:
        """Return logits under the cap, in their own dtype as the families do it."""
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap
