"""Safetensors files of lofit with one thing wrong: metadata, a tensor's name, shape, type or values."""

import copy
import json

import torch
from safetensors import safe_open
from safetensors.torch import save_file

ODD = (None, True, -1, 10**30, 1.5, float("nan"), "", "x", [], [1], {}, {"a": 1})
DTYPES = (
    torch.bool,
    torch.uint8,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float64,
    torch.complex64,
    torch.float8_e4m3fn,
)
RESHAPED = {
    "one row less": lambda t: t[:-1],
    "one row more": lambda t: torch.cat([t, t[:1]]),
    "flat": lambda t: t.flatten(),
    "a dimension more": lambda t: t[None],
    "transposed": lambda t: t.T if t.ndim == 2 else t[:, None],
    "empty": lambda t: t[:0],
    "one number": lambda t: t.flatten()[0],
}
VALUES = {"nan": torch.nan, "infinite": torch.inf, "minus infinite": -torch.inf, "of fives": 5.0}


def read(file):
    """Return the tensors and the metadata without its checksum, with the settings of an intervention as an object."""
    with safe_open(file, framework="pt") as content:
        about = json.loads(content.metadata()["lofit"])
        names = content.keys()
        tensors = {name: content.get_tensor(name) for name in names}
    about.pop("crc32", None)
    if "settings" in about:
        about["settings"] = json.loads(about["settings"])
    return tensors, about


def write(file, tensors, about):
    """Write them as lofit does."""
    if isinstance(about, dict) and not isinstance(about.get("settings", ""), str):
        about = {**about, "settings": json.dumps(about["settings"])}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file, {"lofit": json.dumps(about)})


def mutations(tensors, about):
    """Yield (what is wrong, tensors, metadata) for each way."""
    for path in _paths(about):
        for value in (*ODD, KeyError):
            yield f"{'.'.join(path)} = {value!r}", tensors, _with(about, path, value)
    for value in ODD:
        yield f"metadata {value!r}", tensors, value
    yield "settings that are not JSON", tensors, {**about, "settings": "{"}
    yield "a tensor more", {**tensors, "extra": torch.zeros(2)}, about
    for name in list(tensors)[:3]:
        for what, changed in _changed(tensors[name]):
            yield f"{name} {what}", {**tensors, name: changed}, about
        yield f"without {name}", {other: tensor for other, tensor in tensors.items() if other != name}, about


def _paths(about, path=()):
    for key, value in about.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from _paths(value, (*path, key))


def _with(about, path, value):
    changed = copy.deepcopy(about)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    if value is KeyError:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return changed


def _changed(tensor):
    for what, change in RESHAPED.items():
        yield what, change(tensor)
    for dtype in DTYPES:
        yield f"of {dtype}", tensor.to(dtype)
    for what, value in VALUES.items():
        if tensor.is_floating_point():
            yield what, tensor.clone().index_put((torch.zeros(tensor.ndim, dtype=torch.long),), torch.tensor(value))
