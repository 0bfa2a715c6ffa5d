"""Log-probabilities of given tokens from hidden states, a few rows of the vocabulary at a time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lofit_cli.models.hooks import hooked_input, hooked_output
from lofit_cli.models.logits_tail import LogitsTail

MAX_LOGITS = 2**25
"""As many logits may exist at once: 128 MB in float32, and as much again for their gradient."""

PROBED = 100.0
"""Logits up to this size are tried; no model has larger ones that matter."""

Score = Callable[[Tensor, Tensor], Tensor]
"""Takes hidden states (rows, hidden) and a token a row, and returns its log-probability, (rows,) float32."""


@contextmanager
def hidden_instead_of_logits(model: PreTrainedModel) -> Iterator[list[Tensor]]:
    """Collect what goes into the output embeddings inside a `with` block; these compute a single row of it."""
    found: list[Tensor] = []

    def keep(hidden: Tensor) -> Tensor:
        found.append(hidden)
        return hidden[:1, :1]

    with hooked_input(_head(model), keep):
        yield found


def find_tail(model: PreTrainedModel, tokens: Tensor, keep: dict[str, Any], num_kept: int) -> LogitsTail | None:
    """Return what stands between the hidden states and the logits, asked of the model; None where it is more.

    Numbers of our own stand in for what the output embeddings give, and must come out as they are, or capped.

    Args:
        tokens: (1, seq) to run the model on.
        keep: arguments that take the logits of some positions only.
        num_kept: how many these are.

    Raises:
        Exception: whatever a family's code says to hidden states of fewer rows.
    """
    tail = LogitsTail(getattr(model.config.get_text_config(decoder=True), "final_logit_softcapping", None))
    put_in: list[Tensor] = []

    def replace(logits: Tensor) -> Tensor:
        spread = torch.linspace(-PROBED, PROBED, logits.numel(), dtype=torch.float32, device=logits.device)
        put_in.append(spread.view(logits.shape).to(logits.dtype))
        return put_in[-1]

    with torch.no_grad(), hidden_instead_of_logits(model) as hidden, hooked_output(_head(model), replace):
        found = model(input_ids=tokens, use_cache=False, **keep).logits
    in_order = len(hidden) == len(put_in) == 1 and hidden[0].shape[:-1] == (1, num_kept)
    is_known = in_order and found.shape == put_in[0].shape and torch.allclose(found, tail.bend(put_in[0]).to(found))
    return tail if is_known else None


def fits_at_once(model: PreTrainedModel, num_tokens: int) -> bool:
    """Return whether the logits of so many positions may exist at once."""
    return num_tokens * int(model.config.get_text_config(decoder=True).vocab_size) <= MAX_LOGITS


def token_logprobs(model: PreTrainedModel, tail: LogitsTail, hidden: Tensor, tokens: Tensor) -> Tensor:
    """Return the log-probability of a token after each hidden state, (rows,) float32, differentiable in the states.

    Args:
        hidden: (rows, hidden), what goes into the output embeddings.
        tokens: (rows,) one of the vocabulary each.
    """
    head = _head(model)

    def score(rows: Tensor, scored: Tensor) -> Tensor:
        logits = tail.bend(head(rows[None])[0]).float()
        return logits.gather(-1, scored[:, None]).squeeze(-1) - logits.logsumexp(dim=-1)

    size = max(1, MAX_LOGITS // int(model.config.get_text_config(decoder=True).vocab_size))
    pairs = zip(hidden.split(size), tokens.to(hidden.device).split(size), strict=True)
    apply: Any = _RowByRow.apply
    return torch.cat([apply(rows, scored, score) for rows, scored in pairs])


def is_frozen(model: PreTrainedModel) -> bool:
    """Return whether no part of the output embeddings is trained."""
    return not any(weight.requires_grad for weight in _head(model).parameters())


def _head(model: PreTrainedModel) -> nn.Module:
    head: nn.Module | None = model.get_output_embeddings()
    if head is None:
        raise ValueError("no output embeddings")
    return head


class _RowByRow(torch.autograd.Function):
    """A number a row, whose gradient by the row is computed with it, so that no logits are kept for the way back."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, tokens: Tensor, score: Score) -> Tensor:
        if not ctx.needs_input_grad[0]:
            return score(hidden, tokens)
        with torch.enable_grad():
            own = hidden.detach().requires_grad_()
            values = score(own, tokens)
            # Each number depends on its own row alone, so that the sum's gradient is every row's.
            (slopes,) = torch.autograd.grad(values.sum(), own)
        ctx.save_for_backward(slopes)
        return values.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (slopes,) = ctx.saved_tensors
        return (gradients[0][:, None] * slopes.float()).to(slopes.dtype), None, None
