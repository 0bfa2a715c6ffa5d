"""Watching a decoder run a few tokens: which layers ran, and which maps in their attention see earlier tokens."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lofit_cli.errors import UserError
from lofit_cli.models.devices import input_device
from lofit_cli.models.memory import is_out_of_memory

NUM_TOKENS = 4
RUN_ERRORS = (AttributeError, AssertionError, IndexError, KeyError, RuntimeError, TypeError, ValueError)
"""What a model raises that can't be run on text alone."""

SEEN = 0.01
"""How much of its largest number the last token's input has to differ by: more than rounding, in half precision too."""


@dataclass(frozen=True)
class MixedMap:
    """A linear map inside an attention module whose input, at the last token, depends on the tokens before it.

    Attributes:
        layer: the layer it ran in, a member of a list of modules; None outside all.
        attention: the innermost attention module around it.
        num_in: how many numbers a token's input has.
        num_out: how many its output has, 0 where its rows are not the tokens in order.
    """

    layer: nn.Module | None
    attention: nn.Module
    module: nn.Module
    num_in: int
    num_out: int


class AttentionWatch:
    """What ran, in order.

    The rows of a batch of two are made alike at the entrance of each attention module, but for the tokens before the
    last. Inside, whatever then differs at the last token comes after the mixing of tokens.

    Attributes:
        ran: members of the outermost lists of modules.
        attended: those in which an attention module ran.
        maps: the linear maps after the mixing.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.ran: list[nn.Module] = []
        self.attended: list[nn.Module | None] = []
        self.maps: list[MixedMap] = []
        self._layer: nn.Module | None = None
        self._attention: list[nn.Module] = []
        tokens = torch.arange(NUM_TOKENS, device=input_device(model)).expand(2, -1)
        try:
            with torch.no_grad(), self._hooked(model):
                model(input_ids=tokens)
        except RUN_ERRORS as error:
            if is_out_of_memory(error):
                raise
            name = model.config.name_or_path or model.config.model_type
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise UserError(f"model '{name}' can't be run on a few tokens of text ({reason}); choose another decoder")

    @contextmanager
    def _hooked(self, model: nn.Module) -> Iterator[None]:
        members = {module for found in outer_lists(model) for module in found}
        with ExitStack() as stack:
            for module in model.modules():
                if module in members:
                    stack.callback(module.register_forward_pre_hook(self._enter_layer).remove)
                if _is_attention(module):
                    stack.callback(module.register_forward_pre_hook(self._enter, with_kwargs=True).remove)
                    stack.callback(module.register_forward_hook(self._leave).remove)
                if _is_linear(module):
                    stack.callback(module.register_forward_hook(self._record, with_kwargs=True).remove)
            yield

    def _enter_layer(self, module: nn.Module, args: Any) -> None:
        self._layer = module
        self.ran.append(module)

    def _enter(self, module: nn.Module, args: Any, inputs: dict[str, Any]) -> Any:
        self._attention.append(module)
        if len(self._attention) > 1:
            return None
        self.attended.append(self._layer)
        return tuple(map(_alike_at_last, args)), {name: _alike_at_last(value) for name, value in inputs.items()}

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self._attention.pop()

    def _record(self, module: nn.Module, args: Any, inputs: dict[str, Any], output: Any) -> None:
        given = next((value for value in (*args, *inputs.values()) if isinstance(value, Tensor)), None)
        if not self._attention or given is None or not _sees_earlier(given):
            return
        in_order = given.ndim == 3 and isinstance(output, Tensor)
        num_out = output.shape[-1] if in_order else 0
        self.maps.append(MixedMap(self._layer, self._attention[-1], module, given.shape[-1], num_out))


def outer_lists(model: nn.Module) -> list[nn.ModuleList]:
    """Return the lists of modules that are inside no other list."""
    found: dict[str, nn.ModuleList] = {}
    for path, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and not any(path.startswith(f"{outer}.") for outer in found):
            found[path] = module
    return list(found.values())


def _is_attention(module: nn.Module) -> bool:
    """Return whether a module is attention by its class; whole layers are not, whatever is in them."""
    name = type(module).__name__
    return "Attention" in name and not name.endswith("Layer")


def _is_linear(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    is_other = isinstance(module, nn.Embedding | nn.modules.conv._ConvNd)
    return isinstance(weight, Tensor) and weight.ndim > 1 and not is_other


def _alike_at_last(value: Any) -> Any:
    """Return hidden states (2, seq, width) whose second row is the first with its earlier tokens changed."""
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.ndim != 3 or len(value) != 2:
        return value
    last = value[:1, -1:]
    return torch.cat([value[:1], torch.cat([value[:1, :-1].roll(1, dims=-1), last], dim=1)])


def _sees_earlier(given: Tensor) -> bool:
    """Return whether the two rows of a batch differ at the last token."""
    if given.shape[0] % 2 or given.ndim < 2:
        return False
    first, second = given.detach().float().reshape(2, -1, given.shape[-1])[:, -1]
    return bool((first - second).abs().max() > SEEN * first.abs().max())
