"""The feed-forward part of each decoder layer."""

from torch import nn

from lofit_cli.errors import UserError
from lofit_cli.models.decoder import Decoder

NAMES = ("mlp", "feed_forward", "ffn", "ff", "fc2")
"""What families call it; of OPT's it is the last map."""


def find_mlps(lm: Decoder) -> list[nn.Module]:
    """Return, for each layer, the module whose output is its feed-forward network's.

    Raises:
        UserError: a layer has none by a name that is known.
    """
    found = [next((getattr(layer, name) for name in NAMES if hasattr(layer, name)), None) for layer in lm.layers]
    if None in found:
        raise UserError(
            f"layer {found.index(None)} of model '{lm.id}' has no feed-forward network by a name that is known "
            f"({', '.join(NAMES)}); choose another model, or a method that edits heads, such as lofit"
        )
    return [module for module in found if module is not None]
