"""Where a decoder keeps its attention heads, found by watching it run rather than by a list of model names."""

from typing import Any, NamedTuple

from torch import nn
from transformers import PreTrainedModel

from lofit_cli.artifacts.geometry import Geometry
from lofit_cli.errors import UserError
from lofit_cli.models.attention_watch import AttentionWatch, MixedMap, outer_lists
from lofit_cli.models.tensor_parallel import num_parts

NUM_HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head")
HEAD_DIM = ("v_head_dim", "head_dim", "attention_head_size", "dim_head")
"""What families call the number of heads and the size of a head's value, the one that counts first."""

LINEAR = "linear_attention"
"""The kind of layers, in transformers' `layer_types`, that mix tokens by a state: their heads attend to no token."""


class FoundHeads(NamedTuple):
    """A decoder's layers and heads.

    Attributes:
        layers: in order.
        projections: each layer's attention output projection (`o_proj`); layers without heads have none.
    """

    geometry: Geometry
    layers: list[nn.Module]
    projections: dict[int, nn.Module]


def find_heads(model: PreTrainedModel) -> FoundHeads:
    """Return a decoder's layers and each one's attention output projection.

    The output projection is the one linear map in a layer's attention that runs after tokens were mixed; its input,
    viewed as (batch, seq, heads, head_dim), holds the head activations (LoFiT, arXiv 2406.01563, section 2). Layers
    without attention, or with linear attention, have no heads.

    Raises:
        UserError: the layers can't be told, none has heads, some share them, or an attention keeps them in another way.
    """
    watch = AttentionWatch(model)
    layers = _decoder_layers(model, watch)
    found = [_layer_heads(model, index, layer, watch) for index, layer in enumerate(layers)]
    if not any(found):
        raise UserError(f"model '{_name(model)}' has no attention heads to edit; choose a transformer decoder")
    projections = {index: heads[0] for index, heads in enumerate(found) if heads}
    if len(set(projections.values())) < len(projections):
        raise UserError(f"model '{_name(model)}' has layers that share one attention; choose another decoder")
    counts, dims = zip(*(heads[1:] if heads else (0, 0) for heads in found), strict=True)
    return FoundHeads(Geometry(counts, dims), layers, projections)


def _name(model: PreTrainedModel) -> str:
    return model.config.name_or_path or model.config.model_type


def _decoder_layers(model: PreTrainedModel, watch: AttentionWatch) -> list[nn.Module]:
    """Return the list of modules that is as long as the config says and ran on text, each layer once and in order."""
    config = model.config.get_text_config(decoder=True)
    num_layers = getattr(config, "decoder_layers", None) or getattr(config, "num_hidden_layers", None)
    lists = [list(found) for found in outer_lists(model) if len(found) == num_layers]
    # Layers for images alone do not run on text.
    ran = [found for found in lists if [m for m in watch.ran if m in found] == [m for m in found if m in watch.ran]]
    if not any(set(found) & set(watch.ran) for found in ran):
        raise UserError(
            f"model '{_name(model)}' has no list of {num_layers} layers that run one after the other, each once; "
            "choose another decoder"
        )
    # Of several lists, some are of norms or small maps.
    return max(ran, key=lambda found: sum(p.numel() for m in found if m in watch.ran for p in m.parameters()))


def _layer_heads(
    model: PreTrainedModel, index: int, layer: nn.Module, watch: AttentionWatch
) -> tuple[nn.Module, int, int] | None:
    """Return a layer's output projection, its number of heads and their size; None where it has none."""
    config = _layer_config(model, index)
    kinds = getattr(config, "layer_types", None) or ()
    if layer not in watch.attended or LINEAR in kinds[index : index + 1]:
        return None
    maps = [found for found in watch.maps if found.layer is layer]
    attention = maps[-1].attention if maps else None
    if not (num_heads := _stated(NUM_HEADS, attention, config)):
        return None
    head_dim = _stated(HEAD_DIM, attention, config) or config.hidden_size // num_heads
    width = num_heads * head_dim
    fitting = [(width, config.hidden_size)], [(width // num_parts(model), config.hidden_size)]
    if [(found.num_in, found.num_out) for found in maps] not in fitting:
        raise _misfit(model, index, f"{num_heads} heads of {head_dim}", maps)
    return maps[0].module, num_heads, head_dim


def _misfit(model: PreTrainedModel, index: int, heads: str, maps: list[MixedMap]) -> UserError:
    paths = {module: path for path, module in model.named_modules()}
    through = " and ".join(f"{paths[found.module]} (of {found.num_in} numbers)" for found in maps) or "no linear map"
    return UserError(
        f"model '{_name(model)}' can't be edited by heads: what {heads} make in layer {index} goes through {through}, "
        "not through one output projection; choose another decoder"
    )


def _stated(names: tuple[str, ...], *owners: Any) -> int:
    """Return the first of some settings that is a number, of a module or a config; 0 if there is none."""
    values = (getattr(owner, name, None) for name in names for owner in owners)
    return next((value for value in values if isinstance(value, int) and value), 0)


def _layer_config(model: PreTrainedModel, index: int) -> Any:
    """Return the config of a layer, which some families (Gemma 4) keep apart."""
    config = model.config.get_text_config(decoder=True)
    return config.per_layer_config[index] if getattr(config, "is_heterogeneous", False) else config
