"""Whether a model can begin above its lowest layers, which is tried."""

import torch

from lofit_cli.models.decoder import Decoder
from lofit_cli.models.forward import packed_logprobs
from lofit_cli.models.memory import free_memory, is_out_of_memory
from lofit_cli.models.packing_probe import make_probe
from lofit_cli.models.trunk import Trunk
from lofit_cli.processes import num_joined

SHARE_OF_MEMORY = 4
"""What is kept takes this part of the machine's free memory at most."""


def open_trunk(lm: Decoder, num_layers: int) -> Trunk | None:
    """Return a trunk of so many layers; None where rows that begin above it give anything but what whole rows give.

    Several processes that share items do without: each would have to fill it with all items for its part of them.
    """
    if not num_layers or lm.batching != "packed" or num_joined() > 1:
        return None
    room = (free_memory(torch.device("cpu")) or 0) // SHARE_OF_MEMORY
    trunk, probe = Trunk(lm.layers[:num_layers], room), make_probe(lm)
    texts = probe.siblings, [probe.follower, probe.cousin]
    with torch.no_grad(), lm.keeping(trunk.emptied()):
        try:
            # All are passed before any is passed again: what a layer leaves behind for another must not be enough.
            whole = [packed_logprobs(lm, text, None) for text in texts]
            above = [packed_logprobs(lm, text, None) for text in texts]
        except Exception as error:  # what a family's code says has no base in common
            if is_out_of_memory(error):
                raise
            return None
    return trunk if all(a.equal(b) for a, b in zip(whole, above, strict=True)) else None
