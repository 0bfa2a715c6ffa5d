"""What a model is: its weights, config and tokenizer, so that an artifact can say which ones it was made for."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from math import gcd
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import is_traceable_wrapper_subclass
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.integrations.accelerate import load_offloaded_parameter

from lofit_cli.models.decoder import Decoder
from lofit_cli.models.devices import describe_devices
from lofit_cli.models.embedded import EMBEDDED_MODELS

SAMPLED_VALUES = 4096
BOOKKEEPING = (
    *("transformers_version", "architectures", "auto_map", "dtype", "torch_dtype", "use_cache"),
    *("id2label", "label2id", "problem_type", "initializer_range"),
)
"""What a config says that changes no number, or that the manifest states elsewhere."""
INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""By their number of bytes."""
SPLIT_TEXTS = (
    "Which of these answers is right? The 2nd, of 1,024; it isn't 'naïve'.",
    "\n\n  def f(x):\n\treturn x**2\n",
    "Größe 漢字 🙂",
)
"""Words, numbers, spaces and letters of several scripts: what tokenizers of one vocabulary may split in other ways."""


_samples: WeakKeyDictionary[PreTrainedModel, dict[str, Tensor]] = WeakKeyDictionary()
"""Samples of the weights that a model has out of memory, where nothing changes them, and to read them again is slow."""


def one_name(name: str) -> str:
    """Return one name for all that a model can be called by: a folder's whole path, and any other name as it is."""
    is_folder = name not in EMBEDDED_MODELS and Path(name).is_dir()
    return str(Path(name).resolve()) if is_folder else name


def name_of(model: str) -> str:
    """Return a Hub id as it is, and of a folder its own name: where it lies is nobody's business."""
    return Path(model).name if Path(model).is_dir() else model


def describe_model(lm: Decoder) -> dict[str, Any]:
    """Return what the manifest states of a model; `model_hash` is of weights, config and tokenizer."""
    config, tokens = stated_config(lm.model.config.to_diff_dict()), tokenizer_hash(lm.tokenizer)
    if lm.quantization:
        # Our own, which the manifest states; a checkpoint's is a part of what it is.
        config.pop("quantization_config", None)
    return {
        "model": lm.id,
        "model_commit": getattr(lm.model.config, "_commit_hash", None),
        "model_hash": _hash([weights_hash(lm.model), config, tokens]),
        "model_config": config,
        "tokenizer_hash": tokens,
        "num_model_parameters": _num_parameters(lm.model),
        "dtype": str(lm.model.dtype).removeprefix("torch."),
        "quantization": lm.quantization,
        "device": describe_devices(lm.model),
        "batching": lm.batching,
        "first_tokens": lm.tokenizer.convert_ids_to_tokens(lm.first_tokens),
        "chat_template": lm.chat.hash if lm.chat else None,
        "system_prompt": lm.chat.system_prompt if lm.chat else None,
    }


def _num_parameters(model: PreTrainedModel) -> int:
    """Return the number of weights, tied ones once: out of memory they stand as two."""
    own = dict(model.named_parameters())
    twice = (name for name, source in model.all_tied_weights_keys.items() if name in own and source in own)
    return int(model.num_parameters()) - sum(own[name].numel() for name in twice)


def weights_hash(model: PreTrainedModel) -> str:
    """Return a SHA-256 over each weight's name, shape and up to 4096 evenly spaced values."""
    digest = hashlib.sha256()
    for whole, weight in sorted(model.state_dict().items()):
        for name, values in _parts(whole, weight):
            digest.update(f"{name} {tuple(values.shape)} ".encode())
            digest.update(_sample(model, name, values).numpy().tobytes())
    return digest.hexdigest()


def whole_weights_hash(model: PreTrainedModel) -> str | None:
    """Return a SHA-256 over all bits of all weights and buffers, and how they lie in memory.

    None where some are out of memory or with other processes.
    """
    held = {**dict(model.named_buffers()), **model.state_dict()}
    if any(weight.is_meta or isinstance(weight, DTensor) for weight in held.values()):
        return None
    parts = [part for whole, weight in sorted(held.items()) for part in _parts(whole, weight)]
    # Hashing lets other threads run meanwhile.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return _hash(list(pool.map(_hash_bits, parts)))


def _hash_bits(part: tuple[str, Tensor]) -> str:
    """Return a SHA-256 over a named tensor's bits."""
    name, values = part
    digest = hashlib.sha256(f"{name} {values.dtype} {tuple(values.shape)} {values.stride()} ".encode())
    for bits in bit_sums(values) if values.is_cuda else [values]:
        digest.update(bits.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def bit_sums(values: Tensor) -> list[Tensor]:
    """Return sums of a tensor's bits, read as integers, along each of its axes: where it lies that is quick.

    A change of one number, or two that change places, changes some of the sums.
    """
    plain = torch.view_as_real(values) if values.is_complex() else values
    integers = plain.view(INTEGERS[plain.element_size()])
    if integers.ndim < 2:
        return [integers]
    axes = set(range(integers.ndim))
    return [integers.sum(dim=sorted(axes - {axis}), dtype=torch.int64) for axis in axes]


def _parts(name: str, weight: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield a weight as plain tensors: a quantised one may be integers with scales, of a split one this is a part."""
    if isinstance(weight, DTensor):
        weight = weight.full_tensor()
    if not is_traceable_wrapper_subclass(weight):
        yield name, weight.detach()
        return
    parts, _ = weight.__tensor_flatten__()
    for part in parts:
        yield from _parts(f"{name}.{part}", getattr(weight, part))


def _sample(model: PreTrainedModel, name: str, weight: Tensor) -> Tensor:
    """Return some 4096 values of a weight, from all its columns, on the CPU, wherever it lies."""
    if weight.is_meta:
        known = _samples.setdefault(model, {})
        if name not in known:
            known[name] = _sample(model, name, load_offloaded_parameter(model, name))
        return known[name]
    flat, row = weight.flatten(), max(1, weight.shape[-1] if weight.ndim else 1)
    step = max(1, flat.numel() // SAMPLED_VALUES)
    # Steps as long as a row, or that share a divisor with it, would never come to some columns, such as a head's.
    step = next(longer for longer in count(step) if gcd(longer, row) == 1)
    return flat[::step].float().cpu()


def stated_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a config says beyond the defaults of its class, as JSON, of what a model computes with.

    A default that a later version of transformers adds does not stand in it, so that a model stays the same model.
    """
    stated = {key: value for key, value in config.items() if key not in BOOKKEEPING and not key.startswith("_")}
    nested = {key: stated_config(value) if isinstance(value, dict) else value for key, value in stated.items()}
    known: dict[str, Any] = json.loads(json.dumps(nested, default=str, sort_keys=True))
    return known


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a SHA-256 of a tokenizer's vocabulary, added tokens among it, and of how it splits a few texts."""
    vocabulary = sorted(tokenizer.get_vocab().items())
    split = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in SPLIT_TEXTS]
    return _hash([vocabulary, split])


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
