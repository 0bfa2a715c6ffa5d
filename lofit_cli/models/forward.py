"""Forward passes that give the log-probability of answers: packed in one row, or padded in several."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache

from lofit_cli.models.attention_blocks import attended_in_blocks, block_tokens, seen_keys
from lofit_cli.models.attention_masks import row_masks
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.hooks import hooked_output, replaced
from lofit_cli.models.kept_logits import Inputs, keep_logits, no_logits
from lofit_cli.models.logits_tail import LogitsTail
from lofit_cli.models.packing import PackedRow, TokenSequence, group_padded, pack_row
from lofit_cli.models.token_scores import (
    find_tail,
    fits_at_once,
    hidden_instead_of_logits,
    is_frozen,
    log_sums,
    token_logprobs,
)
from lofit_cli.models.trunk import Trunk
from lofit_cli.schema.limits import FAR

PROBED_TOKENS = 4

MIN_CACHED_PREFIX = 16
"""A shared beginning shorter than this many tokens is cheaper to compute again than to keep."""


def all_logits(lm: Decoder, rows: Sequence[Sequence[int]], start: int = 1) -> Tensor:
    """Return the logits (batch, seq, vocabulary) of equally long texts, float32: of every token, in the plainest way.

    Args:
        start: the first token of an answer, for edits that act on answers only.
    """
    tokens = torch.tensor(rows, device=lm.device)
    with lm.token_positions.padded([start] * len(rows), tokens):
        logits: Tensor = lm.model(input_ids=tokens, use_cache=False).logits
    return logits.float()


def packed_logprobs(lm: Decoder, sequences: Sequence[TokenSequence], prefix: DynamicCache | None) -> Tensor:
    """Score sequences as one row of prefix trees, behind a beginning that all of them share."""
    return packed_token_logprobs(lm, sequences, prefix).sum(dim=-1)


def packed_token_logprobs(lm: Decoder, sequences: Sequence[TokenSequence], prefix: DynamicCache | None) -> Tensor:
    """Return (num_sequences, longest answer): the answers' tokens one by one, then zeros."""
    return copied_token_logprobs(lm, sequences, prefix, 1)[0]


def copied_token_logprobs(
    lm: Decoder, sequences: Sequence[TokenSequence], prefix: DynamicCache | None, num_copies: int
) -> Tensor:
    """Return (num_copies, num_sequences, longest answer): the answers' tokens one by one, then zeros.

    Args:
        num_copies: of the row, which what is attached to the model makes of it; 1 for all but side by side.
    """
    prefix_length = 0 if prefix is None else prefix.get_seq_length()
    packed = pack_row(sequences, prefix_length)
    row, counts = packed.to(lm.device), packed.scored_from.bincount()
    with _above_trunk(lm.trunk, row, sequences, prefix_length):
        scored = _row_logprobs(lm, row, counts, prefix, prefix_length, num_copies)
    if prefix is not None:
        layers: list[Any] = prefix.layers
        for layer in layers:
            # Those that were passed by have not grown.
            layer.crop(prefix_length - layer.get_seq_length())
    return torch.cat([scored, scored.new_zeros(num_copies, 1)], dim=1)[:, row.sequence_scored]


@contextmanager
def _above_trunk(
    trunk: Trunk | None, row: PackedRow, sequences: Sequence[TokenSequence], prefix_length: int
) -> Iterator[None]:
    """Let a row's forward pass inside a `with` block begin above the trunk, or let the trunk keep what it gives."""
    keys = [(sequence, prefix_length) for sequence in sequences]
    with ExitStack() as stack:
        if trunk is not None and trunk.knows(keys):
            hidden = trunk.find(keys, row.paths, len(row.tokens))[None]
            for layer in trunk.layers[:-1]:
                stack.enter_context(replaced(layer, lambda below: below))
            stack.enter_context(replaced(trunk.layers[-1], lambda below: hidden.to(below.device)))
        elif trunk is not None:
            stack.enter_context(hooked_output(trunk.layers[-1], partial(_keep, trunk, keys, row.paths)))
        yield


def _keep(trunk: Trunk, keys: Sequence[Hashable], paths: Sequence[Tensor], hidden: Tensor) -> None:
    if hidden.nbytes <= trunk.room:
        # What is kept while measuring is trained on as well, which a tensor of inference mode does not allow.
        with torch.inference_mode(False):
            trunk.add(hidden.detach()[0].to("cpu", copy=True), keys, paths)


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
    keep = keep_logits(lm.model, torch.arange(first, tokens.shape[1] - 1, device=device))
    predictors = [(row, column) for row, s in enumerate(sequences) for column in range(s.start - 1, len(s.tokens) - 1)]
    # Where the answers are is known here; asking the device for it would wait until it is done.
    rows, columns = torch.tensor(predictors).T.to(device, non_blocking=True)
    kept, wanted = columns - first if keep else columns, tokens[rows, columns + 1]
    inputs: Inputs = {"input_ids": tokens, "attention_mask": attended, "use_cache": False, **keep}
    with lm.token_positions.padded([s.start for s in sequences], tokens):
        if (tail := _known_tail(lm, len(predictors))) is not None:
            hidden = _hidden(lm, inputs)
            places = rows.to(hidden.device), kept.to(hidden.device)
            scored = token_logprobs(lm.model, tail, hidden[places], wanted).to(device)
        else:
            logits = lm.model(**inputs).logits[rows, kept]
            scored = logits.float().gather(-1, wanted[:, None]).squeeze(-1) - _log_sums(lm, logits)
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


def _row_logprobs(
    lm: Decoder, row: PackedRow, counts: Tensor, prefix: DynamicCache | None, prefix_length: int, num_copies: int
) -> Tensor:
    """Return the log-probability of each of the row's scored tokens, (num_copies, e) float32.

    Args:
        counts: (m,) how many tokens each predictor predicts, on the CPU.
    """
    keep, masks = keep_logits(lm.model, row.predictors), row_masks(lm.model, row, prefix_length)
    inputs: Inputs = {
        "input_ids": row.tokens[None],
        "position_ids": row.positions[None],
        "attention_mask": masks,
        "past_key_values": prefix,
        "use_cache": prefix is not None,
        **keep,
    }
    each = list(masks.values()) if isinstance(masks, dict) else [masks]
    size = block_tokens(lm.device, lm.model.dtype)
    seen = [keys.to(lm.device, non_blocking=True) for keys in seen_keys(row.parents, prefix_length, size)]
    with lm.token_positions(row.positions[None], row.distances[None]), attended_in_blocks(each, seen, size):
        if (tail := _known_tail(lm, num_copies * len(row.predictors))) is not None:
            hidden = _hidden(lm, inputs)
            flat = (hidden if keep else hidden[:, row.predictors.to(hidden.device)]).flatten(0, 1)
            tokens = row.scored_tokens.repeat(num_copies)
            scored = token_logprobs(lm.model, tail, flat, tokens, counts.repeat(num_copies))
            return scored.to(lm.device).view(num_copies, -1)
        whole: Tensor = lm.model(**inputs).logits
    logits = whole if keep else whole[:, row.predictors]
    sums = _log_sums(lm, logits.flatten(0, 1)).view(logits.shape[:2])
    return logits[:, row.scored_from, row.scored_tokens].float() - sums[:, row.scored_from]


def _log_sums(lm: Decoder, logits: Tensor) -> Tensor:
    """Return what is taken from the logits of each row to make them scores."""
    return logits.new_zeros(len(logits), dtype=torch.float32) if any(lm.rescorings) else log_sums(logits)


def _known_tail(lm: Decoder, num_tokens: int) -> LogitsTail | None:
    """Return what follows the hidden states where we do better than the model: in parts, or with the gradient at once.

    None where it is not known, or trained, or changed by what is attached.
    """
    if lm.tail is None or lm.rescorings or not is_frozen(lm.model):
        return None
    return lm.tail if torch.is_grad_enabled() or not fits_at_once(lm.model, num_tokens) else None


def _hidden(lm: Decoder, inputs: Inputs) -> Tensor:
    """Return what goes into the output embeddings, (batch, kept, hidden)."""
    with hidden_instead_of_logits(lm.model) as found:
        lm.model(**inputs)
    # What runs inside of this pass, as a contrast edit's twins do, comes before it.
    return found[-1]


def choose_tail(lm: Decoder) -> LogitsTail | None:
    """Return what follows a model's hidden states, so that long rows need not have all logits at once."""
    tokens = torch.zeros((1, max(2, min(PROBED_TOKENS, lm.max_positions))), dtype=torch.long, device=lm.device)
    keep = keep_logits(lm.model, torch.arange(tokens.shape[1] - 1, device=lm.device))
    return find_tail(lm.model, tokens, keep, tokens.shape[1] - 1 if keep else tokens.shape[1])
