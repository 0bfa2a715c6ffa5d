"""Computing in float32 with the weights of a model in half precision, where there is no room for a second model."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

HALVES = (torch.bfloat16, torch.float16)


@contextmanager
def in_float32(model: nn.Module, layers: Sequence[nn.Module]) -> Iterator[None]:
    """Compute every forward pass in float32: the same weights, without the rounding of half precision.

    A layer's weights are cast while it runs and set back after it, so that one layer more is all the memory it takes.

    Args:
        layers: the model's decoder layers; what lies outside of them is cast for as long as the block lasts.
    """
    inside = {id(place.tensor) for layer in layers for place in _halves(layer)}
    with ExitStack() as stack:
        stack.enter_context(_cast(place for place in _halves(model) if id(place.tensor) not in inside))
        stack.enter_context(_computing_in_float32(model))
        for layer in layers:
            stack.enter_context(_cast_while_it_runs(layer))
        yield


@dataclass(frozen=True)
class _Place:
    """Where a module keeps a tensor: weights that are out of memory stand there as another object after each pass."""

    tensors: dict[str, Any]
    name: str
    tensor: Tensor

    def put_float32(self) -> None:
        if is_traceable_wrapper_subclass(self.tensor):
            whole: Any = self.tensor
            self.tensors[self.name] = nn.Parameter(whole.dequantize().float(), requires_grad=False)
        else:
            self.tensor.data = self.tensor.data.float()

    def put_back(self, data: Tensor) -> None:
        current = self.tensors[self.name]
        if is_traceable_wrapper_subclass(self.tensor) or current is None:
            self.tensors[self.name] = self.tensor
        else:
            current.data = data


def _halves(module: nn.Module) -> list[_Place]:
    """Return the places of all tensors in half precision, tied ones each time that they stand somewhere."""
    owned: list[dict[str, Any]] = [held for part in module.modules() for held in (part._parameters, part._buffers)]
    return [_Place(held, name, t) for held in owned for name, t in held.items() if t is not None and t.dtype in HALVES]


@contextmanager
def _cast(places: Iterable[_Place]) -> Iterator[None]:
    own = [(place, place.tensor.data) for place in places]
    try:
        for place, _ in own:
            if place.tensor.dtype in HALVES:
                place.put_float32()
        yield
    finally:
        for place, data in own:
            place.put_back(data)


@contextmanager
def _computing_in_float32(model: nn.Module) -> Iterator[None]:
    """Let quantised maps that have a dtype of their own for the computation compute in float32."""
    maps: list[Any] = [module for module in model.modules() if getattr(module, "compute_dtype", None) in HALVES]
    own = [module.compute_dtype for module in maps]
    try:
        for module in maps:
            module.compute_dtype = torch.float32
        yield
    finally:
        for module, dtype in zip(maps, own, strict=True):
            module.compute_dtype = dtype


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
