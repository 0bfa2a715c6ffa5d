"""Changing what a model says of the next token: the same in scoring, training and generation."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from lofit_cli.models.decoder import Decoder

Rescore = Callable[[Tensor, dict[str, Any]], Tensor]
"""Takes the logits of a forward pass, (batch, kept, vocabulary), and its keyword arguments; returns their stand-ins."""


@contextmanager
def rescored(lm: Decoder, rescore: Rescore, as_is: bool = False) -> Iterator[None]:
    """Pass the logits of each forward pass through `rescore` inside a `with` block.

    Args:
        as_is: what comes out is a token's score as it is; otherwise its log-softmax is.
    """

    def change(module: nn.Module, args: tuple[Any, ...], inputs: dict[str, Any], output: Any) -> Any:
        output.logits = rescore(output.logits, inputs)
        return output

    handle = lm.model.register_forward_hook(change, with_kwargs=True)
    lm.rescorings.append(as_is)
    try:
        yield
    finally:
        lm.rescorings.pop()
        handle.remove()
