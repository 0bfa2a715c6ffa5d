"""How much memory a job takes above the loaded weights, each side in a process of its own."""

import ctypes
import gc
import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from measuring import Pass, Row
from transformers import PreTrainedModel

from lofit_cli.artifacts.provenance import peak_memory, reset_peak_memory
from lofit_cli.errors import RunError

SCRIPT = Path(__file__).with_name("run.py")
PEAK = "peak_memory_bytes"


def weight_bytes(model: PreTrainedModel) -> int:
    """Return the size of the weights, tied ones counted once."""
    return sum(weight.numel() * weight.element_size() for weight in model.parameters())


def expected_bytes(model: PreTrainedModel, largest: Pass) -> int:
    """Return what a job should take above the weights, from its largest forward pass.

    With n tokens, d hidden numbers, f of the feed-forward network, g of keys and values together, V of the vocabulary,
    m tokens with logits and b bytes a number, it is the sum of what follows. TRL's logits may exist in parts.

    - activations: n * (6 d + 3 f) * b for each layer that keeps them for the way back, or of one layer where none does.
      Kept are the inputs of two norms, queries, keys and values of all heads, and the attention's output; and of the
      feed-forward network the gate, its activation and the other factor. A frozen map keeps nothing.
    - the mask: n * (its keys) * b;
    - logits: m * V * 4 bytes, once for themselves and once for their softmax; with gradient twice more, for what comes
      back from the softmax and from the tokens that were scored, until these are added up;
    - cached keys and values: (cached tokens) * g * b a layer.

    Source: what torch.autograd.graph.saved_tensors_hooks sees of a step on SmolLM2: 307 MB, where activations and
        one copy of the logits are 308 here.
    """
    config, size = model.config.get_text_config(decoder=True), model.dtype.itemsize
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    kept = largest.tokens * (6 * config.hidden_size + 3 * inner) * size * max(1, largest.layers)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    num_cached = 2 * head_dim * (getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
    cached = largest.cached * num_cached * config.num_hidden_layers * size
    logits = largest.logits * config.vocab_size * 4 * (4 if largest.layers else 2)
    return int(kept + largest.tokens * largest.keys * size + logits + cached)


def measure_side(row: Row, side: str, model: PreTrainedModel) -> dict[str, Any]:
    """Run one side once in this process, and return its peak above what was there before it."""
    job = {"ours": row.ours, "peer": row.peer}[side]
    _give_back_free_memory()
    reset_peak_memory()
    before = peak_memory()[PEAK]
    job()
    about = {"row": row.name, "side": side, "weight_bytes": weight_bytes(model)}
    expected = expected_bytes(model, row.passes[side])
    return {**about, "bytes_above_weights": peak_memory()[PEAK] - before, "expected_bytes": expected}


def _give_back_free_memory() -> None:
    """Let glibc return what loading has freed; a job that uses it would seem to take nothing."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def measure_apart(name: str, side: str, dtype: str, options: list[str]) -> dict[str, Any]:
    """Run one side of a row in a fresh process, which prints what it found in its last line.

    Raises:
        RunError: the process failed.
    """
    command = [sys.executable, str(SCRIPT), *options, "--dtypes", dtype, "--memory-of", f"{name}:{side}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise RunError(f"the memory of {name}:{side} in {dtype} was not measured: {said[-1]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "dtype": dtype}
