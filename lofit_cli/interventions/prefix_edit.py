"""Prefix tuning: learnt keys and values stand before every text, in every layer."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from lofit_cli.errors import UserError
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.interventions.saved import require_settings, require_tensors
from lofit_cli.models.decoder import PLACE, Decoder
from lofit_cli.models.hooks import hooked_output
from lofit_cli.models.key_maps import find_key_maps
from lofit_cli.models.positions import with_first


class PrefixEdit(Intervention):
    """Keys and values of tokens before every text, a pair for each layer and place.

    They stand in the place of what the maps of keys and values make of tokens, before norms and rotations, so that they
    are packed, padded and cached as tokens are.

    Attributes:
        keys, values: for each layer with heads, (num_vectors, width) float32.

    Source: prefix tuning, Li and Liang 2021 (arXiv 2101.00190), section 4, without the network that makes the prefix
        in training.
    """

    kind = "prefix_edit"

    def __init__(self, keys: Sequence[Tensor], values: Sequence[Tensor]) -> None:
        super().__init__()
        self.keys, self.values = nn.ParameterList(keys), nn.ParameterList(values)

    @property
    def num_vectors(self) -> int:
        """Return how many places there are."""
        return len(self.keys[0])

    @contextmanager
    def attach(self, lm: Decoder) -> Iterator[None]:
        """Let every text begin with as many tokens, and put the keys and values in the place of theirs."""

        def put(vectors: Tensor, made: Tensor) -> Tensor:
            return with_first(vectors, lm.token_positions.read(made.device).positions, made)

        with ExitStack() as stack:
            stack.enter_context(lm.begun([PLACE] * self.num_vectors))
            for maps, own in zip(find_key_maps(lm), zip(self.keys, self.values, strict=True), strict=True):
                for module, vectors in zip(maps, own, strict=True):
                    stack.enter_context(hooked_output(module, partial(put, vectors)))
            yield

    def settings(self) -> dict[str, Any]:
        """Return none: its tensors are all there is."""
        return {}

    @classmethod
    def restore(cls, lm: Decoder, settings: dict[str, Any], tensors: dict[str, Tensor]) -> "PrefixEdit":
        """Make it again, refusing tensors that the model has no place for."""
        require_settings(settings)
        num_vectors = len(tensors["keys.0"]) if "keys.0" in tensors and tensors["keys.0"].ndim else 0
        if not 0 < num_vectors < lm.max_positions:
            raise UserError(f"it has {num_vectors} places, and must have 1 to {lm.max_positions - 1}")
        maps = zip(*find_key_maps(lm), strict=True)
        shapes = {
            name: {f"{name}.{i}": (num_vectors, _width(module)) for i, module in enumerate(modules)}
            for name, modules in zip(("keys", "values"), maps, strict=True)
        }
        found = require_tensors(tensors, shapes["keys"] | shapes["values"])
        return cls(*([found[name] for name in of_kind] for of_kind in shapes.values()))


def _width(linear: Any) -> int:
    """Return how many numbers a linear map gives for a token."""
    return int(linear.out_features)
