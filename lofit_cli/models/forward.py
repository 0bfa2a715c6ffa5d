"""Forward passes that give the log-probability of answers: packed in one row, or padded in several."""

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, PreTrainedModel

from lofit_cli.models.attention_masks import row_masks
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.devices import input_device
from lofit_cli.models.packing import PackedRow, TokenSequence, group_padded, pack_row
from lofit_cli.schema.limits import FAR

MIN_CACHED_PREFIX = 16
"""A shared beginning shorter than this many tokens is cheaper to compute again than to keep."""


def packed_logprobs(lm: Decoder, sequences: Sequence[TokenSequence], prefix: DynamicCache | None) -> Tensor:
    """Score sequences as one row of prefix trees, behind a beginning that all of them share."""
    return packed_token_logprobs(lm, sequences, prefix).sum(dim=-1)


def packed_token_logprobs(lm: Decoder, sequences: Sequence[TokenSequence], prefix: DynamicCache | None) -> Tensor:
    """Return (num_sequences, longest answer): the answers' tokens one by one, then zeros."""
    prefix_length = 0 if prefix is None else prefix.get_seq_length()
    row = pack_row(sequences, prefix_length).to(lm.device)
    logits = _row_logits(lm, row, prefix, prefix_length)
    if prefix is not None:
        prefix.crop(-len(row.tokens))
    scored = logits[row.scored_from, row.scored_tokens] - logits.logsumexp(dim=-1)[row.scored_from]
    return torch.cat([scored, scored.new_zeros(1)])[row.sequence_scored]


def padded_logprobs(lm: Decoder, sequences: Sequence[TokenSequence]) -> Tensor:
    """Score right-padded rows, one a sequence: slower, and understood by every decoder."""
    return torch.cat([padded_token_logprobs(lm, batch).sum(dim=-1) for batch in padded_batches(lm, sequences)])


def padded_batches(lm: Decoder, sequences: Sequence[TokenSequence]) -> Iterable[list[TokenSequence]]:
    """Return the sequences in batches that fit a forward pass, or one by one where the model's results need it."""
    return [[s] for s in sequences] if lm.batching == "single" else group_padded(sequences, lm.max_row_tokens)


def padded_token_logprobs(lm: Decoder, sequences: Sequence[TokenSequence]) -> Tensor:
    """Return (num_sequences, longest - 1): each answer's tokens where they are predicted, zeros elsewhere."""
    device = lm.device
    tokens, attended = pad_right(sequences, device)
    first = min(s.start for s in sequences) - 1
    keep = _keep_logits(lm.model, torch.arange(first, tokens.shape[1] - 1, device=device))
    with lm.token_positions.padded([s.start for s in sequences], tokens):
        logits: Tensor = lm.model(input_ids=tokens, attention_mask=attended, use_cache=False, **keep).logits
    predictors = [(row, column) for row, s in enumerate(sequences) for column in range(s.start - 1, len(s.tokens) - 1)]
    # Where the answers are is known here; asking the device for it would wait until it is done.
    rows, columns = torch.tensor(predictors).T.to(device, non_blocking=True)
    log_probs = logits[rows, columns - first if keep else columns].float().log_softmax(dim=-1)
    scored = log_probs.gather(-1, tokens[rows, columns + 1][:, None]).squeeze(-1)
    return scored.new_zeros(len(sequences), tokens.shape[1] - 1).index_put((rows, columns), scored)


def pad_right(sequences: Sequence[TokenSequence], device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Return tokens and attention mask, both (num_sequences, longest); no mask for a sequence alone."""
    tokens = pad_sequence([torch.tensor(s.tokens) for s in sequences], batch_first=True)
    lengths = torch.tensor([len(s.tokens) for s in sequences])
    attended = (torch.arange(tokens.shape[1]) < lengths[:, None]).long().to(device, non_blocking=True)
    return tokens.to(device, non_blocking=True), attended if len(sequences) > 1 else None


def cache_prefix(lm: Decoder, tokens: Sequence[int]) -> DynamicCache:
    """Return the keys and values of the beginning of some prompts, all of it far from their ends."""
    # Without the model's config every layer keeps all positions, sliding windows being a matter of our mask.
    cache = DynamicCache()
    row = torch.tensor([list(tokens)]).to(lm.device, non_blocking=True)
    with lm.token_positions(torch.arange(len(tokens), device=row.device)[None], torch.full_like(row, FAR)):
        lm.model(input_ids=row, past_key_values=cache, use_cache=True, **no_logits(lm.model))
    return cache


def no_logits(model: PreTrainedModel) -> dict[str, Any]:
    """Return the arguments that take logits at one position only, for a pass that needs none."""
    return _keep_logits(model, torch.zeros(1, dtype=torch.long, device=input_device(model)))


def _row_logits(lm: Decoder, row: PackedRow, prefix: DynamicCache | None, prefix_length: int) -> Tensor:
    """Return the logits at the row's predictors: (m, vocabulary), float32."""
    keep = _keep_logits(lm.model, row.predictors)
    with lm.token_positions(row.positions[None], row.distances[None]):
        logits: Tensor = lm.model(
            input_ids=row.tokens[None],
            position_ids=row.positions[None],
            attention_mask=row_masks(lm.model, row, prefix_length),
            past_key_values=prefix,
            use_cache=prefix is not None,
            **keep,
        ).logits[0]
    return (logits if keep else logits[row.predictors]).float()


def _keep_logits(model: PreTrainedModel, positions: Tensor) -> dict[str, Any]:
    """Return the arguments that take logits at these positions only, where the model has such an argument."""
    return {"logits_to_keep": positions} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
