"""Where a side's time goes: operations that it computes, and the processor's time by kind of work."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from measuring import Side, watched_by
from torch import ops
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

KINDS = {
    "products": r"mm|addmm|bmm|baddbmm|mkldnn_linear",
    "attention": r"\w*attention\w*",
    "softmax": r"_?(log_)?softmax\w*|_?logsumexp\w*|exp_?|log_?|amax|max|sum",
    "elementwise": r"(mul|add|sub|rsub|div|neg|pow|mean|rsqrt|silu|sigmoid|gelu|tanh|addc\w+|_fused_\w+)(_\w*)?",
    "moving": r"copy_|cat|stack|clone|gather|scatter\w*|_?index\w*|embedding\w*|fill_|zero_|masked\w+",
}
"""Names of operations by kind of work; what is neither is the rest, Python among it."""
FORMULAS: dict[Any, Callable[..., int]] = {
    **flop_registry,
    ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(
        q.shape, k.shape, v.shape
    ),
    ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: lambda g, q, k, v, *_, **__: (
        sdpa_backward_flop_count(g.shape, q.shape, k.shape, v.shape)
    ),
}
"""Operations of each kernel; torch's own do not know a CPU's attention. Keys behind a mask are counted as well."""


def profile_side(side: Side) -> dict[str, Any]:
    """Run one side twice, once for its operations and once for its time; only what its stopwatches hold counts.

    Returns:
        `flops`, multiplications and additions of matrix products and attention; `seconds`, under the profiler, which
        slows many small operations down; and `seconds_by_kind`, of which the `rest` is what no kind holds.
    """
    flops, seconds = _Flops(), _Seconds()
    with watched_by(flops.count):
        side()
    with watched_by(seconds.note):
        measured = side()
    total = measured.parts.get("measured", measured.seconds)
    rest = max(0.0, total - sum(seconds.by_kind.values()))
    shares = {kind: spent / total for kind, spent in {**seconds.by_kind, "rest": rest}.items()}
    return {"flops": flops.total * measured.seconds / total, "shares": shares}


class _Flops(TorchDispatchMode):
    """Counts as torch's FlopCounterMode does, without its hooks on modules, which stop a gradient within a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count an operation; one that is made of others, as inference mode passes them on, is taken apart."""
        named = kwargs or {}
        with self:
            parts = func.decompose(*args, **named)
        if parts is not NotImplemented:
            return parts
        found = func(*args, **named)
        if formula := FORMULAS.get(func.overloadpacket):
            self.total += formula(*args, **named, out_val=found)
        return found

    @contextmanager
    def count(self) -> Iterator[None]:
        with self:
            yield


class _Seconds:
    def __init__(self) -> None:
        self.by_kind: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def note(self) -> Iterator[None]:
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            yield
        for event in profiler.key_averages():
            for kind, names in KINDS.items():
                if re.fullmatch(f"aten::({names})", event.key):
                    self.by_kind[kind] += event.self_cpu_time_total / 1e6
                    break
