"""Log-probabilities of given tokens from hidden states, a few rows of the vocabulary at a time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lofit_cli.models.hooks import hooked_output, replaced
from lofit_cli.models.logits_tail import LogitsTail

MAX_LOGITS = 2**25
"""As many logits may exist at once: 128 MB in float32."""
CACHED_LOGITS = 2**20
"""As many logits are summed at once on a CPU: 4 MB, which its caches hold while they are read several times."""

PROBED = 100.0
"""Logits up to this size are tried; no model has larger ones that matter."""

Logits = Callable[[Tensor], Tensor]
"""Takes hidden states (rows, hidden) and returns their logits (rows, vocabulary)."""


@contextmanager
def hidden_instead_of_logits(model: PreTrainedModel) -> Iterator[list[Tensor]]:
    """Collect what goes into the output embeddings inside a `with` block; these compute nothing."""
    found: list[Tensor] = []

    def keep(hidden: Tensor) -> Tensor:
        found.append(hidden)
        return hidden[..., :1]

    with replaced(_head(model), keep):
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

    with torch.no_grad():
        with hooked_output(_head(model), replace):
            found = model(input_ids=tokens, use_cache=False, **keep).logits
        with hidden_instead_of_logits(model) as hidden:
            model(input_ids=tokens, use_cache=False, **keep)
    in_order = len(hidden) == len(put_in) == 1 and hidden[0].shape[:-1] == (1, num_kept)
    is_known = in_order and found.shape == put_in[0].shape and torch.allclose(found, tail.bend(put_in[0]).to(found))
    return tail if is_known else None


def fits_at_once(model: PreTrainedModel, num_tokens: int) -> bool:
    """Return whether the logits of so many positions may exist at once."""
    return num_tokens <= _rows_at_once(model)


def _rows_at_once(model: PreTrainedModel) -> int:
    return max(1, MAX_LOGITS // int(model.config.get_text_config(decoder=True).vocab_size))


def log_sums(logits: Tensor) -> Tensor:
    """Return the log of the sum of exponentials of each row, float32, of few rows at a time where a CPU sums them."""
    return torch.cat([part.float().logsumexp(dim=-1) for part in logits.split(_cached_rows(logits))])


def _cached_rows(logits: Tensor) -> int:
    """Return how many rows of logits are best read together."""
    return max(1, CACHED_LOGITS // logits.shape[-1]) if logits.device.type == "cpu" else max(1, len(logits))


def token_logprobs(
    model: PreTrainedModel, tail: LogitsTail, hidden: Tensor, tokens: Tensor, counts: Tensor | None = None
) -> Tensor:
    """Return the log-probability of tokens after hidden states, (num_tokens,) float32, differentiable in the states.

    Args:
        hidden: (rows, hidden), what goes into the output embeddings.
        tokens: of the vocabulary, those after the first row first; on any device.
        counts: (rows,) how many tokens follow each row, on the CPU; one each by default.
    """
    head, size = _head(model), _rows_at_once(model)

    def compute(rows: Tensor) -> Tensor:
        return tail.bend(head(rows))

    if counts is not None and torch.is_grad_enabled():
        hidden, counts = hidden[torch.arange(len(hidden)).repeat_interleave(counts).to(hidden.device)], None
    tokens = tokens.to(hidden.device)
    if counts is None:
        pairs = zip(hidden.split(size), tokens.split(size), strict=True)
        apply: Any = _RowByRow.apply
        return torch.cat([apply(rows, after, compute) for rows, after in pairs])
    parts = counts.split(size)
    after_part = tokens.split([int(part.sum()) for part in parts])
    return torch.cat(
        [
            _score(compute(rows), after, part)
            for rows, after, part in zip(hidden.split(size), after_part, parts, strict=True)
        ]
    )


def _score(logits: Tensor, tokens: Tensor, counts: Tensor) -> Tensor:
    """Return the log-probability of each token after its row of logits, of which `counts` says how many it has."""
    rows = torch.arange(len(logits)).repeat_interleave(counts).to(logits.device)
    return logits[rows, tokens].float() - log_sums(logits)[rows]


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
    def forward(ctx: Any, hidden: Tensor, tokens: Tensor, compute: Logits) -> Tensor:
        if not ctx.needs_input_grad[0]:
            return _score(compute(hidden), tokens, torch.ones(len(hidden), dtype=torch.long))
        with torch.enable_grad():
            own = hidden.detach().requires_grad_()
            logits = compute(own)
        # Those of output embeddings that are split over processes are a view of what torch keeps.
        slopes = logits.detach().clone() if logits._is_view() else logits.detach()
        values = _replace_by_slopes(slopes, tokens)
        # Quantised output embeddings may let no gradient through, which whoever trains finds out.
        reached = torch.autograd.grad(logits, own, slopes, allow_unused=True) if logits.requires_grad else ()
        ctx.save_for_backward(*(found for found in reached if found is not None))
        return values

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None]:
        found = [(gradients[0][:, None] * slopes.float()).to(slopes.dtype) for slopes in ctx.saved_tensors]
        return found[0] if found else None, None, None


def _replace_by_slopes(logits: Tensor, tokens: Tensor) -> Tensor:
    """Return the log-probability of a token a row, and put its slopes in the logits' place: 1 at the token, less p.

    Neither the output embeddings nor a cap needs its own output on the way back, so that it may be written over.
    """
    found, size = [], _cached_rows(logits)
    for part, after in zip(logits.split(size), tokens.split(size), strict=True):
        values, index = part.float(), after[:, None]
        sums = values.logsumexp(dim=-1, keepdim=True)
        found.append((values.gather(-1, index) - sums).squeeze(-1))
        slopes = values.sub_(sums).exp_().neg_()
        part.copy_(slopes.scatter_add_(-1, index, torch.ones_like(sums)))
    return torch.cat(found)
