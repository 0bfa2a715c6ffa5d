"""An edit as plain vectors: a safetensors file with JSON that says what to do, or a control vector of llama.cpp."""

import json
from pathlib import Path
from typing import Any

import gguf
import safetensors.torch
from torch import Tensor

from lofit_cli.errors import UserError
from lofit_cli.exports.fold import head_values
from lofit_cli.exports.places import module_paths
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.interventions.residual_edit import DirectionEdit
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.weights import name_of

FORMAT = 1
TENSORS, ABOUT, CONTROL = "vector.safetensors", "vector.json", "control_vector.gguf"
HEADS = (
    "At the input of each layer's module (the attention's output projection), view the activations as (batch, seq, "
    "num_heads, head_dim); for each listed head z becomes (1 + scale) * z + offset, in float32, where a missing scale "
    "or offset is 0."
)
RESIDUAL = "Add the vector, in float32, to the hidden states (batch, seq, hidden) that each layer's module returns."
POSITIONS = {
    "all": "At every token.",
    "answer": "Only at the tokens from which an answer token is predicted: from the prompt's last token on.",
}


def require_vectors(edit: Intervention) -> HeadEdit | DirectionEdit:
    """Return an edit that is made of vectors, refusing others."""
    if getattr(edit, "positions", "all") not in POSITIONS:
        raise UserError("it acts at the prompt's last token only, which no other program is told; it can't be exported")
    if isinstance(edit, HeadEdit | DirectionEdit):
        return edit
    raise UserError(f"it is a {edit.kind}, which is no vector per head or layer; to=hf says whether it can be weights")


def write_vectors(lm: Decoder, edit: HeadEdit | DirectionEdit, folder: Path) -> None:
    """Write `vector.safetensors` with float32 tensors by layer and head, and `vector.json` with what they mean."""
    tensors, layers = _head_tensors(lm, edit) if isinstance(edit, HeadEdit) else _layer_tensors(lm, edit)
    about = {
        "format": FORMAT,
        "kind": edit.kind,
        "base_model": name_of(lm.id),
        "what_to_do": HEADS if isinstance(edit, HeadEdit) else RESIDUAL,
        "positions": edit.positions,
        "where": POSITIONS[edit.positions],
        "numbering": "Layers and heads are counted from 0.",
        "layers": layers,
    }
    safetensors.torch.save_file(tensors, folder / TENSORS)
    (folder / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _head_tensors(lm: Decoder, edit: HeadEdit) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors: dict[str, Tensor] = {}
    layers: dict[str, Any] = {}
    paths = module_paths(lm)
    for layer, head in edit.heads:
        sizes = {"num_heads": edit.geometry.heads_per_layer[layer], "head_dim": edit.geometry.head_dims[layer]}
        place = {"layer": layer, "module": paths[lm.output_projections[layer]], **sizes, "heads": []}
        layers.setdefault(str(layer), place)["heads"].append(head)
        for part in ("scale", "offset"):
            if (values := head_values(edit, layer, part)) is not None:
                tensors[f"layer.{layer}.head.{head}.{part}"] = values[head].cpu().clone()
    return tensors, layers


def _layer_tensors(lm: Decoder, edit: DirectionEdit) -> tuple[dict[str, Tensor], dict[str, Any]]:
    place = {"layer": edit.layer, "module": layer_paths(lm)[str(edit.layer)]}
    return {f"layer.{edit.layer}.vector": edit.vector.detach().float().cpu().clone()}, {str(edit.layer): place}


def layer_paths(lm: Decoder) -> dict[str, str]:
    """Return what each layer's module is called in the model."""
    paths = module_paths(lm)
    return {str(index): paths[layer] for index, layer in enumerate(lm.layers)}


def require_control_vector(edit: DirectionEdit) -> None:
    """Refuse a vector that llama.cpp has no place for.

    Raises:
        UserError: it acts after layer 0, where control vectors can't, or at some tokens only.
    """
    if edit.positions != "all":
        raise UserError("it acts at answer tokens only, and a control vector acts at every token; use to=vector")
    if edit.layer == 0:
        raise UserError("it acts after layer 0, which control vectors of llama.cpp can't steer; use another layer")


def write_control_vector(lm: Decoder, edit: DirectionEdit, folder: Path) -> None:
    """Write `control_vector.gguf`: `direction.L` is added to what layer L, counted from 0, puts out.

    Source of the keys: llama.cpp's common.cpp, which reads such files.
    """
    writer = gguf.GGUFWriter(folder / CONTROL, "controlvector")
    writer.add_string("controlvector.model_hint", lm.model.config.get_text_config(decoder=True).model_type)
    writer.add_uint32("controlvector.layer_count", 1)
    writer.add_tensor(f"direction.{edit.layer}", edit.vector.detach().float().cpu().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
