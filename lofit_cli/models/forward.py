"""Forward passes that give the summed log-probability of answers: packed in one row, or padded in several."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, PreTrainedModel

from lofit_cli.models.decoder import Decoder
from lofit_cli.models.packing import PackedRow, TokenSequence, group_padded, pack_row
from lofit_cli.schema.checks import FAR


def packed_logprobs(lm: Decoder, sequences: Sequence[TokenSequence], prefix: DynamicCache | None) -> Tensor:
    """Score sequences as one row of prefix trees, behind a beginning that all of them share."""
    prefix_length = 0 if prefix is None else prefix.get_seq_length()
    row = pack_row(sequences, prefix_length)
    logits = _row_logits(lm, row, prefix, prefix_length)
    if prefix is not None:
        prefix.crop(-len(row.tokens))
    return _sum_scored(logits, row)


def padded_logprobs(lm: Decoder, sequences: Sequence[TokenSequence]) -> Tensor:
    """Score right-padded rows, one a sequence: slower, and understood by every decoder."""
    batches = group_padded(sequences, lm.max_row_tokens)
    return torch.cat([padded_batch_logprobs(lm, batch) for batch in batches])


def padded_batch_logprobs(lm: Decoder, sequences: Sequence[TokenSequence]) -> Tensor:
    """Score right-padded rows in one forward pass."""
    tokens = pad_sequence([torch.tensor(s.tokens) for s in sequences], batch_first=True).to(lm.model.device)
    lengths = torch.tensor([len(s.tokens) for s in sequences], device=tokens.device)
    starts = torch.tensor([s.start for s in sequences], device=tokens.device)
    positions = torch.arange(tokens.shape[1], device=tokens.device)
    attended = (positions < lengths[:, None]).long()
    with lm.token_positions.padded(starts, tokens.shape[1]):
        logits: Tensor = lm.model(input_ids=tokens, attention_mask=attended, use_cache=False).logits[:, :-1]
    answers = (positions[1:] >= starts[:, None]) & (positions[1:] < lengths[:, None])
    log_probs = logits[answers].float().log_softmax(dim=-1)
    scored = log_probs.gather(-1, tokens[:, 1:][answers][:, None]).squeeze(-1)
    return scored.new_zeros(answers.shape).masked_scatter(answers, scored).sum(dim=-1)


def cache_prefix(lm: Decoder, tokens: Sequence[int]) -> DynamicCache:
    """Return the keys and values of the beginning of some prompts, all of it far from their ends."""
    # Without the model's config every layer keeps all positions, sliding windows being a matter of our mask.
    cache = DynamicCache()
    row = torch.tensor([list(tokens)], device=lm.model.device)
    with lm.token_positions(torch.arange(len(tokens), device=row.device)[None], torch.full_like(row, FAR)):
        lm.model(input_ids=row, past_key_values=cache, use_cache=True, **_keep_logits(lm.model, torch.tensor([0])))
    return cache


def _row_logits(lm: Decoder, row: PackedRow, prefix: DynamicCache | None, prefix_length: int) -> Tensor:
    """Return the logits at the row's predictors: (m, vocabulary), float32."""
    model = lm.model
    masks = _attention_masks(model, row, prefix_length)
    keep = _keep_logits(model, row.predictors)
    with lm.token_positions(row.positions[None].to(model.device), row.distances[None].to(model.device)):
        logits: Tensor = model(
            input_ids=row.tokens[None].to(model.device),
            position_ids=row.positions[None].to(model.device),
            attention_mask=masks,
            past_key_values=prefix,
            use_cache=prefix is not None,
            **keep,
        ).logits[0]
    return (logits if keep else logits[row.predictors]).float()


def _keep_logits(model: PreTrainedModel, positions: Tensor) -> dict[str, Any]:
    """Return the arguments that take logits at these positions only, where the model has such an argument."""
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        return {"logits_to_keep": positions.to(model.device)}
    return {}


def _attention_masks(model: PreTrainedModel, row: PackedRow, prefix_length: int) -> Tensor | dict[str, Tensor]:
    """Return the additive mask (1, 1, n, prefix + n), or one for each kind of layer where windows matter."""
    config = model.config.get_text_config(decoder=True)
    visible = torch.cat([torch.ones(len(row.tokens), prefix_length, dtype=torch.bool), row.visible], dim=1)
    window = getattr(config, "sliding_window", None)
    if not window or int(row.positions.max()) < window:
        return _additive(visible, model)
    key_positions = torch.cat([torch.arange(prefix_length), row.positions])
    near = row.positions[:, None] - key_positions[None] < window
    masks = {"full_attention": _additive(visible, model), "sliding_attention": _additive(visible & near, model)}
    kinds = set(getattr(config, "layer_types", None) or ["sliding_attention"])
    return masks if len(kinds) > 1 else masks[kinds.pop()]


def _additive(visible: Tensor, model: PreTrainedModel) -> Tensor:
    mask = torch.zeros(visible.shape, dtype=model.dtype)
    return mask.masked_fill_(~visible, torch.finfo(model.dtype).min)[None, None].to(model.device)


def _sum_scored(logits: Tensor, row: PackedRow) -> Tensor:
    device = logits.device
    scored_from = row.scored_from.to(device)
    scored = logits[scored_from, row.scored_tokens.to(device)] - logits.logsumexp(dim=-1)[scored_from]
    return torch.cat([scored, scored.new_zeros(1)])[row.sequence_scored.to(device)].sum(dim=-1)
