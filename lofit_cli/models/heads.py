"""Where a decoder keeps its attention heads, found by watching it run rather than by a list of model names."""

from contextlib import ExitStack

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lofit_cli.artifacts.geometry import Geometry
from lofit_cli.errors import UserError
from lofit_cli.models.hooks import hooked_input


def find_geometry(model: PreTrainedModel) -> tuple[Geometry, list[nn.Module]]:
    """Return the model's geometry and each layer's attention output projection (`o_proj`).

    The output projection is the last linear map that runs inside a layer's attention module; its input, viewed as
    (batch, seq, heads_per_layer, head_dim), holds the head activations (LoFiT, arXiv 2406.01563, section 2). This
    covers explicit head dimensions, grouped-query attention, fused query-key-value maps and unusual names alike.

    Raises:
        UserError: a layer has no attention heads (a state-space model, for example).
    """
    config = model.config.get_text_config(decoder=True)
    heads_per_layer = getattr(config, "num_attention_heads", None)
    layers = decoder_layers(model)
    if not heads_per_layer or not layers:
        raise UserError(f"model '{_name(model)}' has no attention heads to edit; choose a transformer decoder")
    calls = _record_projections(model, layers)
    missing = [layer for layer in range(len(layers)) if layer not in calls]
    if missing:
        raise UserError(
            f"model '{_name(model)}' has no attention heads in layer {missing[0]}; "
            "every layer must have them: choose a transformer decoder"
        )
    widths = {width for _, width in calls.values()}
    if len(widths) != 1 or (width := widths.pop()) % heads_per_layer:
        raise UserError(f"model '{_name(model)}' has layers whose heads differ in size, which is not supported")
    geometry = Geometry(len(layers), heads_per_layer, width // heads_per_layer)
    return geometry, [calls[layer][0] for layer in range(len(layers))]


def _name(model: PreTrainedModel) -> str:
    return model.config.name_or_path or model.config.model_type


def decoder_layers(model: PreTrainedModel) -> list[nn.Module]:
    """Return a model's decoder layers in order: the first list of modules that is as long as its config says."""
    num_layers = getattr(model.config.get_text_config(decoder=True), "num_hidden_layers", 0)
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    return next((list(found) for found in lists if len(found) == num_layers), [])


def _record_projections(model: PreTrainedModel, layers: list[nn.Module]) -> dict[int, tuple[nn.Module, int]]:
    """Run one token and return, for each layer, the last linear map called inside its attention and its input width."""
    calls: dict[int, tuple[nn.Module, int]] = {}
    with ExitStack() as stack:
        for index, layer in enumerate(layers):
            for path, module in layer.named_modules():
                weight = getattr(module, "weight", None)
                if "att" in path and isinstance(weight, Tensor) and weight.ndim == 2:

                    def record(values: Tensor, layer: int = index, module: nn.Module = module) -> None:
                        calls[layer] = (module, values.shape[-1])

                    stack.enter_context(hooked_input(module, record))
        with torch.no_grad():
            model(input_ids=torch.zeros((1, 1), dtype=torch.long, device=model.device))
    return calls
