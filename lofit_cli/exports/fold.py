"""An edit that acts at every token, as numbers in the model's own linear maps."""

from dataclasses import dataclass, field, replace
from typing import cast

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lofit_cli.errors import UserError
from lofit_cli.exports.places import module_paths, parallel_map, residual_map
from lofit_cli.interventions.bias_edit import BiasEdit, biased_modules
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.interventions.residual_edit import DirectionEdit
from lofit_cli.models.decoder import Decoder

ANSWERS_ONLY = (
    "it acts at the tokens that predict an answer only, and weights act at every token; an edit that is always on "
    "would have to be made and measured before it is exported: use to=vector, which says where the numbers act"
)
NO_WEIGHTS = {
    "layer_contrast": "it takes the logits of an early layer from the last one's, which no weights do",
    "proxy_edit": "it adds what another model's logits do, and weights are this model's alone",
    "soft_prompt": "it is vectors before each text, and weights act on tokens",
    "prefix_edit": "it is keys and values before each text, and weights act on tokens",
    "projection_edit": "it keeps the length of what it projects, token by token, which no weights do",
    "directions_edit": "it adds after several layers, and a file with the vector of one can be exported as method=file",
    "sink_edit": "it changes attention to one token, and weights act alike at every token",
    "contrast_edit": "its vector is computed anew for each text from two copies of it, and weights are fixed",
    "low_rank_edit": "it changes the first and last tokens of a prompt only, and weights act at every token",
    "demonstrations": "it is text before each prompt and no change of the model; put that text before your own prompts",
}
"""Kind of intervention -> why it can't be weights."""


@dataclass(frozen=True)
class Fold:
    """What an edit changes in linear maps (and norms with a bias), each named by its path in the model.

    Attributes:
        columns: path -> (num_in,) float32, what each column of the map's weight is multiplied by.
        biases: path -> (num_out,) float32, what is added to its output.
        offsets: path -> (num_in,) float32, the same as `biases` where an edit adds to the map's input.
    """

    columns: dict[str, Tensor] = field(default_factory=dict)
    biases: dict[str, Tensor] = field(default_factory=dict)
    offsets: dict[str, Tensor] = field(default_factory=dict)


def require_weights(edit: Intervention) -> None:
    """Refuse an edit that no weights can express.

    Raises:
        UserError: says why.
    """
    if edit.kind in NO_WEIGHTS:
        raise UserError(NO_WEIGHTS[edit.kind])
    if getattr(edit, "positions", "all") != "all":
        raise UserError(ANSWERS_ONLY)


def fold_edit(lm: Decoder, edit: Intervention) -> Fold:
    """Return what an edit of heads, of one layer's output or of biases changes in the model's maps.

    An offset v before the output projection W_o is a bias of W_o v, and a scale s is W_o diag(1 + s): of the map
    `z <- (1 + s) z + v` the projection makes W_o diag(1 + s) z + W_o v.

    Raises:
        UserError: it is another kind of edit, or no map of the layer can take over what is added to its output.
    """
    require_weights(edit)
    if isinstance(edit, HeadEdit):
        return _fold_heads(lm, edit)
    if isinstance(edit, DirectionEdit):
        return _fold_direction(lm, edit)
    if isinstance(edit, BiasEdit):
        return _fold_biases(lm, edit)
    raise UserError(f"it is a {edit.kind}, which is more than columns and biases of single maps")


def head_values(edit: HeadEdit, layer: int, part: str) -> Tensor | None:
    """Return a layer's scales or offsets, (num_heads, head_dim) float32 with 0 at heads that are not edited.

    Args:
        part: `scale` or `offset`; None is returned where the edit has none or leaves the layer alone.
    """
    values: Tensor | None = getattr(edit, part)
    rows = [(row, head) for row, (at, head) in enumerate(edit.heads) if at == layer]
    if values is None or not rows:
        return None
    head_dim = edit.geometry.head_dims[layer]
    full = torch.zeros(edit.geometry.heads_per_layer[layer], head_dim, device=values.device)
    for row, head in rows:
        full[head] = values[row, :head_dim].detach().float()
    return full


def _fold_heads(lm: Decoder, edit: HeadEdit) -> Fold:
    fold, paths = Fold(), module_paths(lm)
    for layer, projection in lm.output_projections.items():
        path = paths[projection]
        if (scale := head_values(edit, layer, "scale")) is not None:
            fold.columns[path] = 1 + scale.flatten()
        if (offset := head_values(edit, layer, "offset")) is not None:
            fold.offsets[path] = offset.flatten()
            fold.biases[path] = weight_rows(projection) @ offset.flatten()
    return fold


def _fold_direction(lm: Decoder, edit: DirectionEdit) -> Fold:
    if (found := residual_map(lm, edit.layer)) is None:
        raise UserError(
            "no linear map of this model adds to the residual stream after a whole layer as the vector does; use "
            "to=gguf for a control vector of llama.cpp, or to=vector"
        )
    path, factor = found
    return Fold(biases={path: factor * edit.vector.detach().float()})


def _fold_biases(lm: Decoder, edit: BiasEdit) -> Fold:
    paths = module_paths(lm)
    pairs = zip(biased_modules(lm), edit.biases, strict=True)
    return Fold(biases={paths[module]: bias.detach().float() for module, bias in pairs if bias.any()})


def move_to_parallel_map(lm: Decoder, fold: Fold) -> Fold | None:
    """Return the fold with the output projections' biases in maps that have one and add to the same sum, if any do."""
    paths, moved = module_paths(lm), dict[str, Tensor]()
    layers = {paths[projection]: layer for layer, projection in lm.output_projections.items()}
    for path, bias in fold.biases.items():
        place = parallel_map(lm, layers[path]) if path in layers else None
        if place is None:
            return None
        moved[place] = bias
    return replace(fold, biases=moved)


def weight_rows(module: nn.Module) -> Tensor:
    """Return a linear map's weight as (num_out, num_in) float32; GPT-2 keeps it the other way round."""
    weight = cast(Tensor, module.weight).detach().float()
    return weight.T if isinstance(module, Conv1D) else weight


def folded_state(lm: Decoder, fold: Fold) -> dict[str, Tensor]:
    """Return the model's weights with the edit in them, and biases also where the model has none yet."""
    state: dict[str, Tensor] = dict(lm.model.state_dict())
    for path, factors in fold.columns.items():
        weight, module = state[f"{path}.weight"], lm.model.get_submodule(path)
        state[f"{path}.weight"] = weight * (factors[:, None] if isinstance(module, Conv1D) else factors)
    for path, bias in fold.biases.items():
        name = f"{path}.bias"
        state[name] = state[name] + bias if name in state else bias
    return state
