"""Which linear map of a layer can take over what is added elsewhere, found by trying rather than by a list of names."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lofit_cli.models.decoder import Decoder
from lofit_cli.models.forward import all_logits
from lofit_cli.models.hooks import Hook, hooked_layer, hooked_output

PROBED_TEXT = "Q: What do penguins eat, and where do they live?\nA: They eat fish, and they live in the south."
SAME_EFFECT = 1e-3
"""Share of an addition's effect on the logits by which float32 may round; another place is off by all of it."""


def module_paths(lm: Decoder) -> dict[nn.Module, str]:
    """Return what each module of the model is called in its state dict."""
    return {module: path for path, module in lm.model.named_modules()}


def residual_map(lm: Decoder, layer: int) -> tuple[str, float] | None:
    """Return the map to whose output a vector is added as to the layer's own output, and what it is to be times.

    Granite multiplies what a layer's maps make before it adds it to the residual stream.
    """
    probe = _probe(lm)
    factor = 1 / float(getattr(lm.model.config.get_text_config(decoder=True), "residual_multiplier", None) or 1)
    found = _same_map(lm, layer, hooked_layer(lm.layers[layer], _add(probe)), factor * probe)
    return None if found is None else (found, factor)


def parallel_map(lm: Decoder, layer: int) -> str | None:
    """Return another map of a layer to whose output a vector is added as to that of the attention's output projection.

    There is one where the attention and the MLP both read the layer's input.
    """
    probe, projection = _probe(lm), lm.output_projections[layer]
    return _same_map(lm, layer, hooked_output(projection, _add(probe)), probe, besides=projection)


def _same_map(
    lm: Decoder, layer: int, edited: AbstractContextManager[None], probe: Tensor, besides: nn.Module | None = None
) -> str | None:
    before, wanted = _logits(lm, nullcontext()), _logits(lm, edited)
    paths = module_paths(lm)
    for module in reversed(list(lm.layers[layer].modules())):
        if module is besides or not isinstance(module, nn.Linear | Conv1D) or num_outputs(module) != len(probe):
            continue
        found = _logits(lm, hooked_output(module, _add(probe)))
        if (found - wanted).abs().max() <= SAME_EFFECT * (wanted - before).abs().max():
            return paths[module]
    return None


def num_outputs(module: nn.Linear | Conv1D) -> int:
    """Return how many numbers a linear map puts out."""
    return int(module.out_features if isinstance(module, nn.Linear) else module.nf)


def _probe(lm: Decoder) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(lm.hidden_size, generator=generator).to(lm.device)


def _add(vector: Tensor) -> Hook:
    return lambda output: (output.float() + vector).to(output.dtype)


def _logits(lm: Decoder, edited: AbstractContextManager[None]) -> Tensor:
    with torch.inference_mode(), edited:
        return all_logits(lm, [lm.encode([PROBED_TEXT])[0].tokens])
