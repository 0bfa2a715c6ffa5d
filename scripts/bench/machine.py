"""What a time depends on beside the code: the machine, how fast it multiplies, and the versions of all libraries."""

import platform
import re
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

CPU_FACTS = Path("/proc/cpuinfo")
INSTRUCTIONS = re.compile(r"(avx|amx|fma|sse4|asimd|sve|bf16|i8mm)\w*")
PACKAGES = ("lofit", "torch", "transformers", "peft", "trl", "lm-eval", "numpy")
BEST_OF = 5


def describe_machine() -> dict[str, Any]:
    """Return what bench.json says of the processor and of torch on it."""
    return {
        "cpu": _cpu_fact("model name") or platform.processor() or platform.machine(),
        "instructions": [word for word in _cpu_fact("flags", "Features").split() if INSTRUCTIONS.fullmatch(word)],
        "used_by_torch": torch.backends.cpu.get_cpu_capability(),
        "onednn": torch.backends.mkldnn.is_available(),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch_build": torch.__version__,
    }


def _cpu_fact(*names: str) -> str:
    """Return what Linux says of the first processor under one of these names; nothing elsewhere."""
    if not CPU_FACTS.exists():
        return ""
    facts = (line.partition(":") for line in CPU_FACTS.read_text().splitlines())
    return next((value.strip() for name, _, value in facts if name.strip() in names), "")


def versions() -> dict[str, str | None]:
    """Return the version of each library that computes; None where it is not installed."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def matmul_gflops(dtype: str, size: int) -> float:
    """Return the fastest of several products of two square matrices, in 10^9 multiplications and additions a second."""
    a, b = (torch.randn(size, size).to(getattr(torch, dtype)) for _ in range(2))
    times = []
    for _ in range(BEST_OF + 1):
        start = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - start)
    return float(2 * size**3 / min(times[1:]) / 1e9)
