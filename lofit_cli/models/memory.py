"""Memory: how much a forward pass may take, and what a person is told when a device has too little."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from lofit_cli.errors import RunError
from lofit_cli.models.devices import find_device, memory_of
from lofit_cli.schema.sources import ModelConfig

Result = TypeVar("Result")

CPU_ROW_TOKENS, ROW_TOKENS = 512, 4096
"""Tokens in one forward pass of a CPU, and of an accelerator: enough to keep it busy, few enough for a small mask."""

BYTES_KEPT = 12
"""What eager attention keeps of a pair of tokens for the way back: scores, their softmax in float32, and a copy."""

SMALLEST_ROW = 256

CGROUP = Path("/sys/fs/cgroup")

SAID = ("DefaultCPUAllocator", "not enough memory", "out of memory")
"""What CPUs and accelerators say of it, where they raise no error of its own."""


def row_tokens(config: ModelConfig, device: torch.device) -> int:
    """Return how many tokens one forward pass may hold."""
    return config.max_row_tokens or (CPU_ROW_TOKENS if device.type == "cpu" else ROW_TOKENS)


def fitting_row_tokens(config: ModelConfig, model: PreTrainedModel, device: torch.device) -> int:
    """Return the tokens of a row, as they are set, or as the model's device takes them in training.

    Attention kernels keep nothing of a pair of tokens. Eager attention, the only one of some families, keeps all pairs
    of all heads of all layers, so there the row is as long as half of the memory that the weights leave free allows.
    """
    tokens, memory = row_tokens(config, device), memory_of(device)
    architecture = model.config.get_text_config(decoder=True)
    if config.max_row_tokens or memory is None or architecture._attn_implementation != "eager":
        return tokens
    return min(tokens, eager_row_tokens(architecture, memory[0] // 2))


def eager_row_tokens(config: PreTrainedConfig, num_bytes: int) -> int:
    """Return how long a row may be whose attention, of all layers, is kept in so many bytes."""
    bytes_a_pair = config.num_hidden_layers * config.num_attention_heads * BYTES_KEPT
    return max(SMALLEST_ROW, int((num_bytes / bytes_a_pair) ** 0.5))


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that a device, or the machine, has too little memory."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in SAID)
    )


def if_possible(compute: Callable[[], Result]) -> Result | None:
    """Return what is computed; None where a family's code is against it, whose errors have no base in common.

    Raises:
        Exception: whatever says that there is too little memory.
    """
    try:
        return compute()
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return None


def out_of_memory_in_a_run(config: ModelConfig) -> RunError:
    """Return what to do when a forward or a backward pass needs more memory than there is."""
    device = find_device(config.device)
    rows = row_tokens(config, device)
    smaller = "" if config.dtype in ("bfloat16", "float16") else " or model.dtype=bfloat16"
    return RunError(
        f"{_memory_of(device)} is too small for rows of {rows} tokens of model '{config.id}' in {config.dtype}; set "
        f"model.max_row_tokens={max(1, rows // 2)}{smaller}, which needs about half as much, or less still"
    )


@contextmanager
def memory_explained(config: ModelConfig) -> Iterator[None]:
    """Say what to do where the work inside a `with` block needs more memory than there is.

    Raises:
        RunError: it does.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        raise out_of_memory_in_a_run(config) if is_out_of_memory(error) else error


def out_of_memory_at_load(config: ModelConfig, num_weights: int) -> RunError:
    """Return what to do when the weights need more memory than there is."""
    sizes = {name: num_weights * getattr(torch, name).itemsize / 1e9 for name in ("float32", "bfloat16")}
    needed = " and ".join(f"{size:.1f} GB in {name}" for name, size in sizes.items())
    memory = _memory_of(find_device(config.device))
    return RunError(
        f"{memory} is too small for model '{config.id}' in {config.dtype}, whose weights "
        f"alone take {needed}; choose a model.dtype that fits, model.quantization=nf4, model.device_map=auto, another "
        "device or a smaller model"
    )


def free_memory(device: torch.device) -> int | None:
    """Return how many bytes a device, or the machine for a processor, has left; None where it does not say.

    Source: proc(5), MemAvailable; cgroups(7) for a container's own limit.
    """
    if memory := memory_of(device):
        return memory[0]
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        return None
    limits = [int(found[1]) * 1024] if found else []
    with suppress(OSError, ValueError):
        limit, used = (int((CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        limits.append(limit - used)
    return min(limits, default=None)


def _memory_of(device: torch.device) -> str:
    if device.type == "cpu":
        return "the memory of this machine"
    memory = memory_of(device)
    amount = f" ({memory[1] / 1e9:.1f} GB, {memory[0] / 1e9:.1f} free)" if memory else ""
    return f"the memory of {device}{amount}"
