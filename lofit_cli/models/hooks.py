"""Watching and changing what goes into modules and comes out of them, for the length of a `with` block."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from lofit_cli.errors import UserError

Hook = Callable[[Tensor], Tensor | None]
"""Takes a module's first input or output and returns what stands in its place, or None to leave it."""


@contextmanager
def hooked_call(module: nn.Module, hook: Callable[[dict[str, Any]], None], first: bool = False) -> Iterator[None]:
    """Show the keyword arguments of each call of a module before it runs.

    Args:
        first: before all hooks that are there already.
    """

    def show(module: nn.Module, args: tuple[Any, ...], inputs: dict[str, Any]) -> None:
        hook(inputs)

    handle = module.register_forward_pre_hook(show, with_kwargs=True, prepend=first)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def hooked_input(module: nn.Module, hook: Hook) -> Iterator[None]:
    """Pass the first input of each call of a module through `hook`."""

    def change(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        changed = hook(args[0])
        return None if changed is None else (changed, *args[1:])

    handle = module.register_forward_pre_hook(change)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def hooked_output(module: nn.Module, hook: Hook) -> Iterator[None]:
    """Pass the output of each call of a module, or the first of several, through `hook`."""

    def change(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        changed = hook(untuple(output))
        return None if changed is None else retuple(changed, output)

    handle = module.register_forward_hook(change)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def hooked_layer(layer: nn.Module, hook: Hook) -> Iterator[None]:
    """Pass the residual stream after a decoder layer, (batch, seq, hidden), through `hook`.

    Raises:
        UserError: in the forward pass, where the model has several streams (Gemma 3n).
    """

    def change(hidden: Tensor) -> Tensor | None:
        return hook(_one_stream(hidden))

    with hooked_output(layer, change):
        yield


@contextmanager
def replaced(module: nn.Module, compute: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Let `compute` stand in for what a module makes of its first input; the module's own hooks still run."""
    own = module.__dict__.get("forward")

    def forward(hidden: Tensor, *args: Any, **inputs: Any) -> Tensor:
        return compute(hidden)

    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if own is not None:
            module.forward = own


def untuple(output: Any) -> Tensor:
    """Return a module's output, or the first of several: some families return the hidden states first in a sequence.

    Raises:
        UserError: it is nothing of the kind.
    """
    first = output[0] if isinstance(output, Sequence) and output else output
    if not isinstance(first, Tensor):
        raise UserError(
            f"a layer of this model returns {type(first).__name__}, which can't be edited; choose another model"
        )
    return first


def retuple(changed: Tensor, output: Any) -> Any:
    """Return `changed` in the form that `untuple` took it from."""
    if isinstance(output, list):
        return [changed, *output[1:]]
    return (changed, *output[1:]) if isinstance(output, tuple) else changed


def _one_stream(hidden: Tensor) -> Tensor:
    if hidden.ndim != 3:
        raise UserError(
            f"a layer of this model returns hidden states of shape {tuple(hidden.shape)}, not one residual stream of "
            "(batch, seq, hidden); choose a method that edits heads or maps, such as lofit, iti, red or bitfit"
        )
    return hidden
