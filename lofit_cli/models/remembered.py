"""What a model as it is makes of token sequences, computed once on a machine and kept for other runs.

All that its bits depend on stands in its key, so that what is taken is what would be computed.
"""

import os
import platform
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lofit_cli.artifacts.cache import keep, max_bytes, recall
from lofit_cli.artifacts.files import content_hash
from lofit_cli.artifacts.provenance import describe_arithmetic, describe_code, package_version
from lofit_cli.console import say
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.packing import TokenSequence
from lofit_cli.models.weights import stated_config, whole_weights_hash
from lofit_cli.processes import is_leader
from lofit_cli.sharing import gathered

KERNEL_PACKAGES = ("accelerate", "bitsandbytes", "kernels", "torchao", "triton")
"""What computes for torch and transformers where it is installed."""
KERNEL_VARIABLES = (
    *("ATEN_", "CUBLAS", "CUDNN", "DNNL", "KMP_DET", "MKL", "NVIDIA_TF32", "ONEDNN", "OPENBLAS"),
    *("TORCH_ALLOW", "TORCH_BLAS", "TORCH_CUDNN"),
)
"""How the names of environment variables begin that choose between kernels, and so between last bits."""


def remembered(
    lm: Decoder,
    kind: str,
    items: Sequence[Sequence[TokenSequence]],
    compute: Callable[[], dict[str, Tensor]],
    **settings: Any,
) -> dict[str, Tensor]:
    """Return what the model makes of items: what was kept of it, or else what is computed now, which is kept.

    Several processes all take what was kept, or compute together.

    Args:
        kind: what it is, as a folder can be called.
        items: the token sequences, item by item, in the order in which they are computed.
        settings: what else it depends on, as JSON can hold it.
    """
    if not lm.remembers:
        return compute()
    key = _key(lm, kind, items, settings)
    found = None if key is None else recall(kind, key)
    told = gathered(lambda: [content_hash(key), found is not None])
    if found is not None and all(other == told[0] for other in told):
        say(f"{kind} of {len(items)} items: computed before, taken from the cache; cache=false computes them again")
        return found
    computed = compute()
    if key is not None and is_leader() and len({name for name, _ in told}) == 1:
        keep(kind, key, computed)
    return computed


def _key(
    lm: Decoder, kind: str, items: Sequence[Sequence[TokenSequence]], settings: dict[str, Any]
) -> dict[str, Any] | None:
    """Return all that the bits depend on; None where that can't be told, or nothing is to be kept."""
    if not max_bytes() or not _is_bare(lm) or (weights := whole_weights_hash(lm.model)) is None:
        return None
    sequences = [[(sequence.tokens, sequence.start) for sequence in item] for item in items]
    return {
        "kind": kind,
        "settings": settings,
        "sequences": content_hash(sequences),
        "weights": weights,
        "model": type(lm.model).__name__,
        "config": stated_config(lm.model.config.to_dict()),
        "attention": str(lm.model.config.get_text_config(decoder=True)._attn_implementation),
        "dtype": str(lm.model.dtype),
        "passes": [lm.batching, lm.max_row_tokens, lm.tail is not None],
        "devices": sorted({_device_name(weight.device) for weight in lm.model.parameters()}),
        "arithmetic": {**describe_arithmetic(), "processor": _processor(), **_choices()},
        "code": {**describe_code(), **{name: package_version(name) for name in KERNEL_PACKAGES}},
    }


def _is_bare(lm: Decoder) -> bool:
    """Return whether nothing is attached to the model, and nothing of it is trained or in training."""
    modules = list(lm.model.modules())
    changed = any(module._forward_hooks or module._forward_pre_hooks or module.training for module in modules)
    return not changed and not any(weight.requires_grad for weight in lm.model.parameters())


def _device_name(device: torch.device) -> str:
    """Return what a device is, whichever of several of its kind."""
    told: Any = getattr(getattr(torch, device.type, None), "get_device_name", None)
    return f"{device.type} {told(device)}" if told else device.type


def _processor() -> str:
    """Return what the processor is called, for which libraries choose their kernels."""
    found = None
    with suppress(OSError):
        found = re.search(r"(?:model name|CPU part)\s*:\s*(.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return f"{platform.machine()} {found[1] if found else platform.processor()}"


def _choices() -> dict[str, Any]:
    """Return how torch and its libraries are told to compute."""
    backends = torch.backends.cuda
    return {
        "matmul_precision": torch.get_float32_matmul_precision(),
        "is_deterministic": torch.are_deterministic_algorithms_enabled(),
        "attention": [backends.flash_sdp_enabled(), backends.mem_efficient_sdp_enabled(), backends.math_sdp_enabled()],
        "variables": {name: value for name, value in os.environ.items() if name.startswith(KERNEL_VARIABLES)},
    }
