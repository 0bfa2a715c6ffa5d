"""How much heads attend to the first token of a text: a number added to that one score before the softmax."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lofit_cli.errors import UserError
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.hooks import hooked_call
from lofit_cli.models.kept_logits import Inputs

KERNELS = ("sdpa", "eager")
"""What transformers calls the kinds of attention that take any mask."""
Bias = Callable[[torch.device], Tensor]
"""Returns, on a device, a number for each head of a layer: (heads,)."""


@contextmanager
def biased_first_token(lm: Decoder, biases: Mapping[int, Bias]) -> Iterator[None]:
    """Add to each head's score of the text's first token, in some layers, inside a `with` block.

    The first token is BOS where texts begin with it. In a packed row every text has its own.

    Args:
        biases: layer -> what is added.

    Raises:
        UserError: the model's attention takes no mask, or not as its layers pass it on.
    """
    kernel = getattr(lm.model.config, "_attn_implementation", None)
    if kernel not in KERNELS:
        raise UserError(f"model '{lm.id}' computes attention by '{kernel}', which takes no mask of ours; {_OTHERWISE}")
    now = _Pass()
    with ExitStack() as stack:
        stack.enter_context(hooked_call(lm.model, lambda inputs: now.begin(lm, inputs)))
        for layer, bias in biases.items():
            stack.enter_context(_hooked_mask(_attention(lm, layer), now, bias, lm))
        yield


_OTHERWISE = "choose another model, or a method that edits heads, such as lofit"


def _attention(lm: Decoder, layer: int) -> nn.Module:
    """Return the module that a layer's output projection is a part of."""
    projection = lm.output_projections[layer]
    return next(module for module in lm.layers[layer].modules() if projection in list(module.children()))


class _Pass:
    """The forward pass under way.

    Attributes:
        is_first: (batch, keys) bool, which keys begin a text.
        num_past: how many keys come before those of the pass.
    """

    def __init__(self) -> None:
        self.is_first = torch.empty(0)
        self.num_past = 0

    def begin(self, lm: Decoder, inputs: Inputs) -> None:
        """Find the first keys from the arguments of a forward pass."""
        owner, mask = inputs.get("past_key_values"), inputs.get("attention_mask")
        self.num_past = 0 if owner is None else int(owner.get_seq_length())
        batch, length = inputs["input_ids"].shape
        keys = torch.arange(self.num_past + length, device=inputs["input_ids"].device)
        if isinstance(mask, Tensor) and mask.ndim == 2:
            self.is_first = keys == mask.argmax(dim=1, keepdim=True)
        elif mask is None or self.num_past:
            self.is_first = (keys == 0).expand(batch, -1)
        else:
            # In a packed row without a beginning that all share each text has a root of its own.
            self.is_first = lm.token_positions.read(keys.device).positions == 0


@contextmanager
def _hooked_mask(module: nn.Module, now: _Pass, bias: Bias, lm: Decoder) -> Iterator[None]:
    kernel = lm.model.config._attn_implementation

    def change(module: nn.Module, args: tuple[Any, ...], inputs: dict[str, Any]) -> tuple[tuple[Any, ...], Inputs]:
        told = inputs.get("attention_mask")
        # transformers tells eager attention in numbers; MPT makes True of them where nothing is seen.
        is_own = told is not None and told.dtype == torch.bool and kernel == "eager"
        if is_own or "attention_mask" not in inputs:
            raise UserError(f"the layers of model '{lm.id}' don't say what is masked as others do; {_OTHERWISE}")
        hidden = args[0] if args else inputs["hidden_states"]
        mask = _additive(told, hidden, now.num_past)
        # A cache keeps the last keys only where the layer's attention window reaches no others.
        is_first = now.is_first[:, -mask.shape[-1] :].to(hidden.device)
        added = bias(hidden.device)[:, None, None] * is_first[:, None, None]
        return args, {**inputs, "attention_mask": (mask + added).to(hidden.dtype)}

    handle = module.register_forward_pre_hook(change, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _additive(mask: Tensor | None, hidden: Tensor, num_past: int) -> Tensor:
    """Return an attention mask, (batch or 1, 1, seq, keys), as numbers that are added to scores."""
    if mask is None:
        queries = torch.arange(hidden.shape[1], device=hidden.device) + num_past
        mask = (torch.arange(num_past + hidden.shape[1], device=hidden.device) <= queries[:, None])[None, None]
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros(mask.shape, dtype=hidden.dtype, device=mask.device).masked_fill(
        ~mask, torch.finfo(hidden.dtype).min
    )
