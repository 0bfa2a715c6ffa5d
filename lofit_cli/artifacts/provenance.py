"""What a run was made with: versions, the checkout, and the memory it took."""

import hashlib
import platform
import re
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lofit_cli.plugins import plugin_versions

RECORDED_PACKAGES = ("lofit", "torch", "transformers", "safetensors", "datasets", "hydra-core", "scipy", "numpy")
SHAPING_PACKAGES = ("torch", "transformers", "peft", "numpy", "scipy")


def describe_origin() -> dict[str, Any]:
    """Return what the manifest states of the command, the code and the libraries."""
    return {
        "command": list(sys.argv),
        "python": platform.python_version(),
        "platform": platform.platform(),
        **describe_arithmetic(),
        "versions": {**{name: package_version(name) for name in RECORDED_PACKAGES}, **plugin_versions()},
        "git": _git_state(),
    }


def describe_arithmetic() -> dict[str, Any]:
    """Return what the last bits of sums depend on, beside versions and device; nothing where torch was not needed.

    Source: https://docs.pytorch.org/docs/stable/notes/numerical_accuracy.html
    """
    torch = sys.modules.get("torch")
    if not torch:
        return {}
    return {"num_threads": torch.get_num_threads(), "cpu_capability": torch.backends.cpu.get_cpu_capability()}


@cache
def describe_code() -> dict[str, Any]:
    """Return what numbers depend on beside settings, data and weights: a hash of this code, and its libraries."""
    root, digest = Path(__file__).resolve().parents[1], hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        digest.update(f"{file.relative_to(root).as_posix()}\n".encode() + file.read_bytes())
    return {
        "lofit": digest.hexdigest(),
        **{name: package_version(name) for name in SHAPING_PACKAGES},
        **plugin_versions(),
    }


def package_version(name: str) -> str | None:
    """Return a package's version, with the build where that is torch, whose kernels differ by it."""
    if name == "torch" and name in sys.modules:
        return str(sys.modules[name].__version__)
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git_state() -> dict[str, Any] | None:
    """Return the commit of the checkout that this code runs from and whether it had changes; None from a wheel."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    git = ["git", "-C", str(root)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        changes = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit.stdout.strip(), "dirty": bool(changes.stdout.strip())}


def reset_peak_memory() -> None:
    """Start the peaks anew, so that the runs of a sweep do not inherit them from one another."""
    with suppress(OSError):
        # Linux: see proc(5), clear_refs.
        Path("/proc/self/clear_refs").write_text("5")
    for accelerator, index in _accelerators():
        accelerator.reset_peak_memory_stats(index)


def peak_memory() -> dict[str, int]:
    """Return peak memory in bytes: of the process, and of all accelerators together where there are some."""
    memory = {}
    if sys.platform == "linux":
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        if peak:
            memory["peak_memory_bytes"] = int(peak[1]) * 1024
    elif sys.platform == "darwin":
        import resource

        memory["peak_memory_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if peaks := [accelerator.max_memory_allocated(index) for accelerator, index in _accelerators()]:
        memory["peak_gpu_memory_bytes"] = sum(peaks)
    return memory


def _accelerators() -> list[tuple[Any, int]]:
    """Return torch's module for the accelerators, with the number of each; none where nothing has run on one yet."""
    torch = sys.modules.get("torch")
    if not torch or not torch.accelerator.is_available():
        return []
    module: Any = getattr(torch, torch.accelerator.current_accelerator().type, None)
    if not hasattr(module, "max_memory_allocated") or not module.is_initialized():
        return []
    return [(module, index) for index in range(torch.accelerator.device_count())]
