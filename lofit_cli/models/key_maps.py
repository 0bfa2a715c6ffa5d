"""The maps of each layer that make keys and values of hidden states."""

from torch import nn

from lofit_cli.errors import UserError
from lofit_cli.models.decoder import Decoder

KEYS, VALUES = "k_proj", "v_proj"
"""What families call them that have one map for each; others have one map for queries, keys and values together."""


def find_key_maps(lm: Decoder) -> list[tuple[nn.Module, nn.Module]]:
    """Return what makes the keys and what makes the values of each layer that has heads, from the lowest one up.

    Raises:
        UserError: a layer has no map for each.
    """
    found = [_key_maps(lm.layers[layer]) for layer in sorted(lm.output_projections)]
    maps = [pair for pair in found if pair is not None]
    if len(maps) < len(found):
        raise UserError(
            f"model '{lm.id}' has layers without maps of their own for keys and for values ({KEYS} and {VALUES}); "
            "choose another model, or method=prompt, which needs neither"
        )
    return maps


def _key_maps(layer: nn.Module) -> tuple[nn.Module, nn.Module] | None:
    for module in layer.modules():
        keys, values = (getattr(module, name, None) for name in (KEYS, VALUES))
        if isinstance(keys, nn.Module) and isinstance(values, nn.Module):
            return keys, values
    return None
