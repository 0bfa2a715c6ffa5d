"""JoLA's edit: a scale and an offset of every head behind gates that are learnt with them."""

import math

import torch
from torch import Tensor, nn

from lofit_cli.artifacts.geometry import Geometry
from lofit_cli.interventions.head_edit import HeadEdit

TEMPERATURE, LOW, HIGH = 0.33, -0.1, 1.1
"""Of the hard-concrete distribution: how sharp it is, and how far it is stretched before it is cut to 0 and 1."""
SMALLEST = 1e-6
"""How near to 0 and 1 the noise comes, and the probability that a gate is open."""


class GatedHeadEdit(HeadEdit):
    """The map `z <- (1 + g_m * scale) * z + g_a * offset` on head activations, with two gates a head.

    In training each step draws the gates anew; elsewhere they stand where the distribution's logits say. It is saved as
    a plain `HeadEdit`: with the gates multiplied in, and without heads of which both are shut.

    Attributes:
        gate_logits: (2, num_heads) float32, log alpha of the scales' and of the offsets' gates.

    Source: JoLA (arXiv 2502.01179), equations 3 to 6, and its released code, which has no temperature outside training.
        The distribution is that of Louizos et al. 2018 (arXiv 1712.01312), equations 10 to 12.
    """

    def __init__(
        self,
        geometry: Geometry,
        head_mask: Tensor,
        scale: Tensor,
        offset: Tensor,
        gate_logits: Tensor,
        strength: float = 1.0,
    ) -> None:
        super().__init__(geometry, head_mask, scale, offset)
        self.gate_logits = nn.Parameter(gate_logits)
        self.strength = strength
        self._noise: Tensor | None = None

    def redraw(self, generator: torch.Generator) -> None:
        """Draw the noise of the gates."""
        uniform = torch.rand(self.gate_logits.shape, generator=generator)
        self._noise = (SMALLEST + (1 - 2 * SMALLEST) * uniform).logit().to(self.gate_logits.device)

    def gates(self) -> Tensor:
        """Return the gates as they stand, (2, num_heads), from 0 (shut) to 1 (open)."""
        logits: Tensor = self.gate_logits
        if self.training and self._noise is not None:
            logits = (logits + self._noise) / TEMPERATURE
        return (logits.sigmoid() * (HIGH - LOW) + LOW).clamp(0, 1)

    def acting(self) -> tuple[Tensor | None, Tensor | None]:
        """Return the scale and the offset behind their gates."""
        of_scale, of_offset = self.gates()[..., None]
        return of_scale * self.scale, of_offset * self.offset

    def open_probability(self) -> Tensor:
        """Return the probability that a gate is not shut, (2, num_heads)."""
        return (self.gate_logits - TEMPERATURE * math.log(-LOW / HIGH)).sigmoid().clamp(SMALLEST, 1 - SMALLEST)

    def penalty(self, step: int) -> Tensor:
        """Return the gates' share of the loss: 1 - lambda of the scales' and lambda of the offsets' that are open.

        Of each layer it takes the mean over heads, and of all layers the sum over the number of heads of the model.

        Source: JoLA's released trainer, with its default schedule, lambda = 0.1 exp(-0.01 step).
        """
        weight = 0.1 * math.exp(-0.01 * step)
        of_layer = torch.tensor([layer for layer, _ in self.heads], device=self.gate_logits.device)
        per_head = 1 / of_layer.bincount()[of_layer] / len(of_layer)
        of_scale, of_offset = (self.open_probability() * per_head).sum(dim=1)
        penalty: Tensor = self.strength * ((1 - weight) * of_scale + weight * of_offset)
        return penalty

    def folded(self) -> HeadEdit:
        """Return the edit with its gates multiplied in and shut heads left out; all of them where none is open."""
        gates = self.gates().detach()
        is_open = gates.any(dim=0) | ~gates.any()
        mask = self.head_mask.clone()
        mask[self.head_mask] = is_open
        scale, offset = (part.detach()[is_open] for part in self.acting() if part is not None)
        return HeadEdit(self.geometry, mask, scale, offset)

    def tensors(self) -> dict[str, Tensor]:
        """Return what is saved: the plain edit's."""
        return self.folded().tensors()

    @property
    def num_parameters(self) -> int:
        """Return how many trainable parameters it has, the gates' logits among them."""
        return int(self.own_numbers.sum()) * 2 + self.gate_logits.numel()

    @classmethod
    def begin(
        cls, geometry: Geometry, head_mask: Tensor, init_std: float, seed: int, strength: float
    ) -> "GatedHeadEdit":
        """Return an edit that changes almost nothing, with gates about half open.

        Source: JoLA's released model: normal numbers, and logits uniform in Xavier's limits for a layer's heads.
        """
        generator = torch.Generator().manual_seed(seed)
        shape = int(head_mask.sum()), geometry.head_dim
        scale, offset = (init_std * torch.randn(shape, generator=generator) for _ in range(2))
        heads = torch.tensor([geometry.heads_per_layer[layer] for layer in head_mask.nonzero()[:, 0].tolist()])
        limits = (6 / (heads + 1)).sqrt()
        logits = limits * (2 * torch.rand(2, shape[0], generator=generator) - 1)
        return cls(geometry, head_mask, scale, offset, logits, strength)
