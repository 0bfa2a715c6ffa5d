"""Computing in float32 with the weights of a model in half precision, where there is no room for a second model."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

HALVES = (torch.bfloat16, torch.float16)


@contextmanager
def in_float32(model: nn.Module, layers: Sequence[nn.Module]) -> Iterator[None]:
    """Compute every forward pass in float32: the same weights, without the rounding of half precision.

    A layer's weights are cast while it runs and set back after it, so that one layer more is all the memory it takes.

    Args:
        layers: the model's decoder layers; what lies outside of them is cast for as long as the block lasts.
    """
    inside = {id(tensor) for layer in layers for tensor in _halves(layer)}
    with ExitStack() as stack:
        stack.enter_context(_cast(tensor for tensor in _halves(model) if id(tensor) not in inside))
        for layer in layers:
            stack.enter_context(_cast_while_it_runs(layer))
        yield


def _halves(module: nn.Module) -> list[Tensor]:
    return [tensor for tensor in [*module.parameters(), *module.buffers()] if tensor.dtype in HALVES]


@contextmanager
def _cast(tensors: Iterable[Tensor]) -> Iterator[None]:
    own = [(tensor, tensor.data) for tensor in tensors]
    try:
        for tensor, data in own:
            tensor.data = data.float()
        yield
    finally:
        for tensor, data in own:
            tensor.data = data


@contextmanager
def _cast_while_it_runs(layer: nn.Module) -> Iterator[None]:
    running = ExitStack()

    def begin(module: nn.Module, args: Any) -> None:
        running.enter_context(_cast(_halves(layer)))

    def end(module: nn.Module, args: Any, output: Any) -> None:
        running.close()

    handles = [layer.register_forward_pre_hook(begin), layer.register_forward_hook(end, always_call=True)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        running.close()
