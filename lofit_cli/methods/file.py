"""Vectors that somebody else has made, added where they say: per layer or per head, from a file of any common kind."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import gguf
import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from lofit_cli.artifacts.files import file_hash
from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.artifacts.seen_items import inherit_seen
from lofit_cli.errors import UserError
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.interventions.residual_edit import DirectionEdit, DirectionsEdit
from lofit_cli.interventions.saved import require_layer
from lofit_cli.methods.grid_search import Candidate, keep_best
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.fitted_methods import VectorFileConfig
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.tasks.task import Task

LAYER = re.compile(r"(?:layer\.(\d+)\.vector|direction\.(\d+))")
"""What `lofit export to=vector` calls a layer's vector, and what control vectors of llama.cpp and repeng do."""
HEAD = re.compile(r"layer\.(\d+)\.head\.(\d+)\.(scale|offset)")
ARRAY = "array"
"""What the one array of a .npy file is called."""
NAMES = "layer.LAYER.vector, direction.LAYER, or layer.LAYER.head.HEAD.offset or .scale"


def make_from_file(
    lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, head_mask: Tensor, run: RunDir
) -> Intervention:
    """Return an edit by the vectors of a file, as strong as does best on the validation split.

    Raises:
        UserError: the file can't be read, or the model has no place for what it holds.
    """
    settings = cast(VectorFileConfig, config.method)
    source = Path(settings.source)
    try:
        edit = edit_of(read_vectors(source, settings.layer), lm, settings.positions)
    except UserError as error:
        raise UserError(f"method.source={source}: {error}")
    run.record_settings(source={"file": file_hash(source)[:12]})
    inherit_seen(run, source, None)
    return keep_best(lm, task, config, {Candidate(alpha): scaled(edit, alpha) for alpha in settings.alphas}, run)


def read_vectors(file: Path, layer: int | None) -> dict[str, Tensor]:
    """Return the named float32 tensors of a .safetensors, .npz, .npy or .gguf file; nothing of it is run.

    Args:
        layer: what the one vector of a .npy file is for; None for a file that says its layers.

    Raises:
        UserError: the file can't be read, or it says its layers and `layer` is given, or neither.
    """
    readers: dict[str, Callable[[Path], Mapping[str, Any]]] = {
        ".safetensors": load_file,
        ".npz": lambda path: dict(np.load(path, allow_pickle=False)),
        ".npy": lambda path: {ARRAY: np.load(path, allow_pickle=False)},
        ".gguf": lambda path: {tensor.name: tensor.data.copy() for tensor in gguf.GGUFReader(path).tensors},
    }
    if file.suffix not in readers or not file.is_file():
        what = "there is no such file" if file.suffix in readers else "that is no file of vectors"
        raise UserError(f"{what}; name one of the kind {', '.join(readers)}")
    try:
        found = {name: torch.as_tensor(values).float() for name, values in readers[file.suffix](file).items()}
    except Exception as error:  # each of four libraries has errors of its own
        raise UserError(f"it can't be read ({type(error).__name__}: {error})")
    if not all(values.isfinite().all() for values in found.values()):
        raise UserError("it holds numbers that are not finite")
    array = found.get(ARRAY) if len(found) == 1 else None
    if array is not None and array.ndim == 1:
        return _of_layer(array, layer)
    if layer is not None:
        raise UserError(
            f"method.layer={layer} is for one vector without a name, and it says its layers; leave that out"
        )
    return found if array is None else _named(array)


def _of_layer(vector: Tensor, layer: int | None) -> dict[str, Tensor]:
    if layer is None:
        raise UserError("it holds one vector; say after which layer it is added, with method.layer=LAYER")
    return {f"layer.{layer}.vector": vector}


def _named(array: Tensor) -> dict[str, Tensor]:
    """Return the rows of an array by name: (num_layers, hidden) or (num_layers, num_heads, head_dim)."""
    if array.ndim == 2:
        return {f"layer.{number}.vector": row for number, row in enumerate(array) if row.any()}
    if array.ndim == 3:
        rows = ((i, j, array[i, j]) for i in range(array.shape[0]) for j in range(array.shape[1]))
        return {f"layer.{i}.head.{j}.offset": row for i, j, row in rows if row.any()}
    raise UserError(f"it holds an array of {array.ndim} dimensions, and must be one of one, two or three")


def edit_of(
    vectors: Mapping[str, Tensor], lm: LanguageModel, positions: str
) -> HeadEdit | DirectionEdit | DirectionsEdit:
    """Return the edit that named vectors make of layers or of heads.

    Raises:
        UserError: a name or a shape is not one that the model has a place for, a layer has two vectors, or both kinds
            are mixed.
    """
    layers = {int(match[1] or match[2]): vectors[name] for name in vectors if (match := LAYER.fullmatch(name))}
    heads = [(match, vectors[name]) for name in vectors if (match := HEAD.fullmatch(name))]
    if odd := next((name for name in vectors if not LAYER.fullmatch(name) and not HEAD.fullmatch(name)), None):
        raise UserError(f"it holds '{odd[:60]}'; allowed: {NAMES}")
    if len(layers) < sum(bool(LAYER.fullmatch(name)) for name in vectors):
        raise UserError("it holds two vectors of one layer under two names; leave one of them")
    if bool(layers) == bool(heads):
        raise UserError(f"it holds {'both layers and heads' if layers else 'nothing'}; allowed: {NAMES}, of one kind")
    return _of_heads(heads, lm, positions) if heads else _of_layers(layers, lm, positions)


def _of_layers(layers: Mapping[int, Tensor], lm: LanguageModel, positions: str) -> DirectionEdit | DirectionsEdit:
    for layer, vector in layers.items():
        require_layer(layer, lm.geometry.num_layers)
        if vector.shape != (lm.hidden_size,):
            raise UserError(f"its vector of layer {layer} has shape {tuple(vector.shape)}, not ({lm.hidden_size},)")
    if len(layers) == 1:
        ((layer, vector),) = layers.items()
        return DirectionEdit(vector, layer, positions)
    if positions != "all":
        raise UserError(f"method.positions={positions} is for one vector; it holds {len(layers)}: leave that out")
    numbers = sorted(layers)
    return DirectionsEdit(torch.stack([layers[layer] for layer in numbers]), numbers)


def _of_heads(heads: list[tuple[re.Match[str], Tensor]], lm: LanguageModel, positions: str) -> HeadEdit:
    geometry = lm.geometry
    full = {part: torch.zeros(*geometry.every_head().shape, geometry.head_dim) for part in ("scale", "offset")}
    mask = torch.zeros_like(geometry.every_head())
    for match, values in heads:
        layer, head = int(match[1]), int(match[2])
        require_layer(layer, geometry.num_layers)
        size = geometry.head_dims[layer]
        if head >= geometry.heads_per_layer[layer] or values.shape != (size,):
            raise UserError(
                f"its {match[0]} has {tuple(values.shape)} numbers; layer {layer} has heads 0 to "
                f"{geometry.heads_per_layer[layer] - 1} of ({size},)"
            )
        full[match[3]][layer, head, :size] = values
        mask[layer, head] = True
    parts = {part: full[part][mask] for part in full if any(match[3] == part for match, _ in heads)}
    return HeadEdit(geometry, mask, parts.get("scale"), parts.get("offset"), positions)


def scaled(edit: HeadEdit | DirectionEdit | DirectionsEdit, alpha: float) -> Intervention:
    """Return an edit whose numbers are `alpha` times another's."""
    if isinstance(edit, DirectionEdit):
        return DirectionEdit(alpha * edit.vector.detach(), **edit.settings())
    if isinstance(edit, DirectionsEdit):
        return DirectionsEdit(alpha * edit.vectors.detach(), **edit.settings())
    scale, offset = (None if part is None else alpha * part.detach() for part in (edit.scale, edit.offset))
    return HeadEdit(edit.geometry, edit.head_mask, scale, offset, **edit.settings())
