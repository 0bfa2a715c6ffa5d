"""The one function behind training and scoring: the summed log-probability of answers to prompts."""

import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from lofit_cli.artifacts.geometry import Geometry
from lofit_cli.errors import RunError, UserError
from lofit_cli.models.heads import decoder_layers
from lofit_cli.models.packing import (
    PackedRow,
    Prompted,
    TokenSequence,
    group_padded,
    group_rows,
    pack_row,
    shared_prefix_length,
    tokenize,
)
from lofit_cli.models.places import ANSWER, PlaceBoard
from lofit_cli.schema.checks import FAR

MIN_CACHED_PREFIX = 16
"""A shared beginning shorter than this many tokens is cheaper to compute again than to keep."""

OUR_WINDOWS = {"sliding_window", "sliding_window_pattern", "use_sliding_window", "max_window_layers"}
"""Settings of a model's attention windows that our masks follow; a window by another name is not understood."""

LOW_PRECISION_ERROR = 0.15
"""Nats by which rounding to half precision may move one token's log-probability; a wrong mask moves it further."""


@dataclass(frozen=True)
class LanguageModel:
    """A frozen decoder, its tokenizer, and where its heads are.

    Attributes:
        id: the name it was asked for by.
        output_projections: one module a layer; its input holds the head activations.
        can_pack: whether it takes an attention mask of ours, so that prompts and answers can share a row.
        max_row_tokens: how many tokens one forward pass may hold.
        places: where the tokens of the forward pass under way stand, for edits of some positions.
    """

    id: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    geometry: Geometry
    output_projections: list[nn.Module]
    can_pack: bool = True
    max_row_tokens: int = 512
    places: PlaceBoard = field(default_factory=PlaceBoard)

    @property
    def layers(self) -> list[nn.Module]:
        """Return the decoder layers."""
        return decoder_layers(self.model)

    @property
    def hidden_size(self) -> int:
        """Return how many numbers a token's hidden state has."""
        return int(self.model.config.get_text_config(decoder=True).hidden_size)


def answer_logprobs(
    lm: LanguageModel, sequences: Sequence[TokenSequence], prefix: DynamicCache | None = None
) -> Tensor:
    """Return the summed natural-log probability of each sequence's answer tokens, in one forward pass.

    Args:
        sequences: prompts with answers; sequences with a common beginning should stand together.
        prefix: the cache of a beginning that all sequences share, left as it was found.

    Returns:
        (num_sequences,) float32, differentiable.
    """
    if not lm.can_pack:
        return _padded_logprobs(lm, sequences)
    prefix_length = _length(prefix)
    row = pack_row(sequences, prefix_length)
    logits = _row_logits(lm, row, prefix)
    if prefix is not None:
        prefix.crop(-len(row.tokens))
    return _sum_scored(logits, row)


def tokenize_items(lm: LanguageModel, items: Sequence[Prompted], append_eos: bool = False) -> list[list[TokenSequence]]:
    """Return, for each item, the token sequences of its answers.

    Raises:
        UserError: a prompt or an answer has no token, or both together have more than the model has positions.
    """
    tokenized = tokenize(lm.tokenizer, items, append_eos)
    longest = max((len(sequence.tokens) for item in tokenized for sequence in item), default=0)
    require_positions(lm, longest)
    return tokenized


def require_positions(lm: LanguageModel, num_tokens: int) -> None:
    """Refuse a prompt that, with its answer, is longer than the model has positions for."""
    if num_tokens > (most := _max_positions(lm)):
        raise UserError(
            f"model '{lm.id}' has positions for {most} tokens and a prompt with its answer has {num_tokens}; "
            "choose another model or shorten the task's texts"
        )


def require_finite(log_probs: Tensor) -> Tensor:
    """Refuse log-probabilities or logits of which one is not finite."""
    if not bool(log_probs.isfinite().all()):
        raise RunError("the model gives log-probabilities that are not finite; use model.dtype=float32, or train anew")
    return log_probs


def score_answers(
    lm: LanguageModel, items: Sequence[Prompted], report: Callable[[int], None] = lambda num_items: None
) -> list[list[float]]:
    """Return the log-probability of every answer of every item, computing a prompt shared by all of them once.

    Args:
        report: called with the number of items done after each forward pass.

    Raises:
        RunError: a log-probability is not finite.
    """
    tokenized = tokenize_items(lm, items)
    scores: list[list[float]] = []
    with torch.inference_mode():
        prefix = _shared_prefix(lm, tokenized)
        prefix_length = _length(prefix)
        for group in group_rows(tokenized, lm.max_row_tokens, prefix_length):
            flat = [sequence for item in group for sequence in item]
            values = iter(require_finite(answer_logprobs(lm, flat, prefix)).tolist())
            scores.extend([next(values) for _ in item] for item in group)
            report(len(group))
    return scores


def can_pack(lm: LanguageModel) -> bool:
    """Return whether the model scores a packed row as it scores its sequences one by one.

    Some families build their own positions (ALiBi) or their own mask (a local window counted along the row) and can't
    take ours. Most of them say so; a long row tells the rest.
    """
    settings = lm.model.config.get_text_config(decoder=True).to_dict()
    foreign_windows = {key.lstrip("_") for key in settings if "window" in key and settings[key]} - OUR_WINDOWS
    if foreign_windows or "position_ids" not in inspect.signature(lm.model.forward).parameters:
        return False
    probe = _probe(len(lm.tokenizer), min(lm.max_row_tokens, _max_positions(lm)))
    with torch.inference_mode():
        try:
            packed = _sum_scored(_row_logits(lm, row := pack_row(probe), None), row)
        except (ValueError, TypeError, RuntimeError, IndexError):
            return False
        alone = torch.cat([_padded_batch_logprobs(lm, [sequence]) for sequence in probe])
        rounding = (_padded_batch_logprobs(lm, probe) - alone).abs().max()
    num_scored = max(len(sequence.tokens) - sequence.start for sequence in probe)
    floor = 1e-3 if lm.model.dtype == torch.float32 else LOW_PRECISION_ERROR * num_scored**0.5
    return bool((packed - alone).abs().max() <= floor + 2 * rounding)


def _probe(vocabulary: int, num_tokens: int) -> list[TokenSequence]:
    """Return a short sequence, a long one that fills the row, and one that shares half of the long one's tokens."""
    length = max(12, num_tokens // 2)
    long, other = (tuple((vocabulary // n + 7 * i) % vocabulary for i in range(length)) for n in (2, 3))
    half = length // 2
    return [TokenSequence(other[:11], 6), TokenSequence(long, half), TokenSequence(long[:half] + other[half:], half)]


def _shared_prefix(lm: LanguageModel, items: Sequence[Sequence[TokenSequence]]) -> DynamicCache | None:
    """Return the keys and values of the beginning that all sequences share, or None where it is short."""
    sequences = [sequence for item in items for sequence in item]
    if not lm.can_pack or not sequences or (length := shared_prefix_length(sequences)) < MIN_CACHED_PREFIX:
        return None
    return cache_prefix(lm, sequences[0].tokens[:length])


def cache_prefix(lm: LanguageModel, tokens: Sequence[int]) -> DynamicCache:
    """Return the keys and values of the beginning of some prompts, all of it far from their ends."""
    # Without the model's config every layer keeps all positions, sliding windows being a matter of our mask.
    cache = DynamicCache()
    row = torch.tensor([list(tokens)], device=lm.model.device)
    lm.places.write(torch.arange(len(tokens), device=row.device)[None], torch.full_like(row, FAR))
    lm.model(input_ids=row, past_key_values=cache, use_cache=True, **_keep_logits(lm.model, torch.tensor([0])))
    return cache


def _max_positions(lm: LanguageModel) -> int:
    config = lm.model.config.get_text_config(decoder=True)
    return int(getattr(config, "max_position_embeddings", None) or sys.maxsize)


def _length(prefix: DynamicCache | None) -> int:
    return 0 if prefix is None else prefix.get_seq_length()


def _row_logits(lm: LanguageModel, row: PackedRow, prefix: DynamicCache | None) -> Tensor:
    """Return the logits at the row's predictors: (m, vocabulary), float32."""
    model = lm.model
    lm.places.write(row.positions[None].to(model.device), row.from_end[None].to(model.device))
    prefix_length = _length(prefix)
    masks = _attention_masks(model, row, prefix_length)
    keep = _keep_logits(model, row.predictors)
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


def _padded_logprobs(lm: LanguageModel, sequences: Sequence[TokenSequence]) -> Tensor:
    """Score right-padded rows, one a sequence: slower, and understood by every decoder."""
    batches = group_padded(sequences, lm.max_row_tokens)
    return torch.cat([_padded_batch_logprobs(lm, batch) for batch in batches])


def _padded_batch_logprobs(lm: LanguageModel, sequences: Sequence[TokenSequence]) -> Tensor:
    tokens = pad_sequence([torch.tensor(s.tokens) for s in sequences], batch_first=True).to(lm.model.device)
    lengths = torch.tensor([len(s.tokens) for s in sequences], device=tokens.device)
    starts = torch.tensor([s.start for s in sequences], device=tokens.device)
    positions = torch.arange(tokens.shape[1], device=tokens.device)
    attended = (positions < lengths[:, None]).long()
    from_end = (starts[:, None] - 1 - positions).clamp(ANSWER, FAR)
    lm.places.write(positions.expand_as(from_end), from_end)
    logits: Tensor = lm.model(input_ids=tokens, attention_mask=attended, use_cache=False).logits[:, :-1]
    answers = (positions[1:] >= starts[:, None]) & (positions[1:] < lengths[:, None])
    log_probs = logits[answers].float().log_softmax(dim=-1)
    scored = log_probs.gather(-1, tokens[:, 1:][answers][:, None]).squeeze(-1)
    return scored.new_zeros(answers.shape).masked_scatter(answers, scored).sum(dim=-1)
