"""SEA: what feed-forward networks put out, projected towards right answers and away from wrong ones."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lofit_cli.interventions.intervention import Intervention
from lofit_cli.interventions.saved import require_layers, require_settings, require_tensors
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.hooks import hooked_output
from lofit_cli.models.mlps import find_mlps

SMALLEST = 1e-12
"""The least length that is divided by."""


class ProjectionEdit(Intervention):
    """The map `x <- (K K' + I - R R') x`, brought back to the length of x, on each token's feed-forward output.

    Attributes:
        layers: which are edited, in ascending order.
        kept, removed: K and R of each layer, (hidden, rank) float32 with orthonormal columns, of any rank each.

    Source: SEA (arXiv 2405.09719), section 3. Its code keeps the length of each number over the tokens of a batch; here
        each token keeps its own, so that no text depends on its neighbours.
    """

    kind = "projection_edit"

    def __init__(self, layers: list[int], kept: list[Tensor], removed: list[Tensor]) -> None:
        super().__init__()
        self.layers = layers
        for layer, keeps, removes in zip(layers, kept, removed, strict=True):
            self.register_buffer(f"kept_{layer}", keeps)
            self.register_buffer(f"removed_{layer}", removes)

    @contextmanager
    def attach(self, lm: Decoder) -> Iterator[None]:
        """Change what leaves the feed-forward networks of the edited layers."""
        mlps = find_mlps(lm)
        with ExitStack() as stack:
            for layer in self.layers:
                stack.enter_context(hooked_output(mlps[layer], partial(self._project, layer)))
            yield

    def _project(self, layer: int, output: Tensor) -> Tensor:
        keeps, removes = (getattr(self, f"{name}_{layer}").to(output.device) for name in ("kept", "removed"))
        before = output.float()
        after = before + before @ keeps @ keeps.T - before @ removes @ removes.T
        length, new = (values.norm(dim=-1, keepdim=True) for values in (before, after))
        changed: Tensor = after * length / new.clamp(min=SMALLEST)
        return changed.to(output.dtype)

    def num_untouched_layers(self) -> int:
        """Return how many layers are below the first that is edited."""
        return self.layers[0]

    def settings(self) -> dict[str, Any]:
        """Return the layers."""
        return {"layers": self.layers}

    @classmethod
    def restore(cls, lm: Decoder, settings: dict[str, Any], tensors: dict[str, Tensor]) -> "ProjectionEdit":
        """Make it again, refusing layers or tensors that the model has no place for."""
        require_settings(settings, layers=list)
        layers = require_layers(settings["layers"], lm.geometry.num_layers)
        find_mlps(lm)
        names = [f"{name}_{layer}" for layer in layers for name in ("kept", "removed")]
        ranks = {name: tensors[name].shape[-1] if name in tensors and tensors[name].ndim else 0 for name in names}
        found = require_tensors(tensors, {name: (lm.hidden_size, ranks[name]) for name in names})
        kept, removed = ([found[f"{name}_{layer}"] for layer in layers] for name in ("kept", "removed"))
        return cls(layers, kept, removed)


def leading(base: Tensor, other: Tensor, share: float) -> Tensor:
    """Return the directions of `base` that go with `other`: left singular vectors of their cross-covariance.

    Args:
        base, other: (num_items, hidden), of the same items.
        share: of the sum of squared singular values, which as many leading vectors as are returned reach.

    Returns:
        (hidden, rank) float32.

    Source: SEA (arXiv 2405.09719), equations 1 to 3: base' other / num_items, without taking off the means.
    """
    vectors, values, _ = torch.linalg.svd(base.double().T @ other.double() / len(base), full_matrices=False)
    reached = (values**2).cumsum(dim=0) / (values**2).sum()
    leads: Tensor = vectors[:, : int((reached < share).sum()) + 1]
    return leads.float()
