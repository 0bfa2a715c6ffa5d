"""Whether sequences can share a forward pass without a change of result, asked of the model token by token."""

import inspect
import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lofit_cli.console import say
from lofit_cli.errors import UserError
from lofit_cli.models.attention_masks import WINDOWS, attention_kinds
from lofit_cli.models.forward import cache_prefix, packed_token_logprobs, padded_token_logprobs
from lofit_cli.models.generation import can_share_prefix, forced_logprobs
from lofit_cli.models.language_model import Batching, LanguageModel
from lofit_cli.models.packing import TokenSequence
from lofit_cli.models.packing_probe import ANSWER, COMMON, Probe, make_probe, window_sizes
from lofit_cli.models.precision import HALVES, in_float32

LIMIT = 1e-4
"""How far a token's log-probability may move, relative to 1 + its size, in float32.

Rounding moves it by less than 1e-5 (a trained Gemma 3; 1e-6 in small models) and the least leak by more than 1e-3.
"""

BLOCK = 4
"""Tokens over which the median is taken: a leak moves all that follow it, a router's flipped choice moves one."""

ROUNDING_RATIO = 4
ROUNDING_FLOOR = 1e-3
"""In half precision, rows may be so many times as far from float32 as sequences alone are, and this much more."""

STATEFUL = re.compile("Mamba|SSM|Recurr|R[Ww][Kk][Vv]|Retention|Delta_?Net|LinearAtt|Lightning|ShortConv")
"""Names of layers that hand a state from token to token, past any mask."""

SLOWER = {
    "padded": "does not score packed rows as it scores sequences one by one: falling back to padded batches, which "
    "are slower",
    "single": "gives other numbers in a batch than one by one: each sequence gets a forward pass of its own, which is "
    "slow",
}


def choose_batching(lm: LanguageModel) -> Batching:
    """Return the fastest way of sharing forward passes that changes no result, saying so where it is a slower one.

    Raises:
        UserError: the model sees later tokens when it predicts earlier ones.
    """
    probe = make_probe(lm)
    # What a token sees does not depend on the precision, and in float32 no rounding hides what it must not see.
    with torch.no_grad(), in_float32(lm.model, lm.layers):
        alone = _Alone(lm)
        _refuse_lookahead(lm, probe, alone)
        batching = _fastest(lm, probe, alone)
    if batching == "packed" and lm.model.dtype in HALVES and not _rounds_alike(lm, probe, alone):
        batching = "padded"
    if batching != "packed":
        say(f"model '{lm.id}' {SLOWER[batching]}")
    return batching


class _Alone:
    """The log-probabilities of sequences, each from a plain forward pass of its own, each computed once."""

    def __init__(self, lm: LanguageModel) -> None:
        self._lm = lm
        self._known: dict[TokenSequence, Tensor] = {}

    def __call__(self, *sequences: TokenSequence) -> list[Tensor]:
        """Return one number for each answer token of each sequence."""
        for sequence in sequences:
            if sequence not in self._known:
                self._known[sequence] = _padded(self._lm, [sequence])[0]
        return [self._known[sequence] for sequence in sequences]


def _refuse_lookahead(lm: LanguageModel, probe: Probe, alone: _Alone) -> None:
    """Refuse a model in which a token's probability depends on a token after it."""
    first, second = (values[: COMMON - ANSWER] for values in alone(*probe.siblings))
    if not _agree([first], [second]):
        raise UserError(
            f"model '{lm.id}' sees later tokens when it predicts earlier ones, so its probabilities of an answer mean "
            "nothing; choose a decoder (or, for a BERT-like model, one trained and saved with is_decoder=true)"
        )


def _fastest(lm: LanguageModel, probe: Probe, alone: _Alone) -> Batching:
    if not _pads(lm, probe, alone):
        return "single"
    return "packed" if _takes_masks(lm, probe) and _packs(lm, probe, alone) else "padded"


def _pads(lm: LanguageModel, probe: Probe, alone: _Alone) -> bool:
    """Return whether rows padded on the right, for scores, and on the left, for texts, give what sequences alone give."""
    sequences = [probe.follower, probe.siblings[0]]
    return _holds(lambda: _padded(lm, sequences), alone(*sequences)) and _continues(lm, probe.follower, alone)


def _takes_masks(lm: LanguageModel, probe: Probe) -> bool:
    """Return whether nothing but attention passes from token to token, in windows that our masks follow."""
    modules = [module for layer in lm.layers for module in layer.modules()]
    stateful = getattr(lm.model, "_is_stateful", False) or any(
        isinstance(module, nn.RNNBase | nn.Conv1d) or STATEFUL.search(type(module).__name__) for module in modules
    )
    kinds = attention_kinds(lm.model.config.get_text_config(decoder=True))
    understood = kinds <= {"full_attention", *WINDOWS}
    in_reach = all(size < probe.reach for size in window_sizes(lm, foreign_only=True))
    return understood and in_reach and not stateful and "position_ids" in inspect.signature(lm.model.forward).parameters


def _packs(lm: LanguageModel, probe: Probe, alone: _Alone) -> bool:
    """Return whether packed rows, with and without a cached prefix, give what sequences alone give."""
    row = [*probe.strangers, *probe.siblings, probe.follower]
    compared = slice(len(probe.strangers), None)
    behind_prefix = [probe.cousin, *probe.siblings]
    return (
        _holds(lambda: _packed(lm, row)[compared], alone(*row[compared]))
        and _holds(lambda: _packed(lm, behind_prefix, probe.prefix), alone(*behind_prefix))
        and (not can_share_prefix(lm, probe.reach) or _continues(lm, probe.siblings[0], alone, probe.prefix))
    )


def _continues(lm: LanguageModel, sequence: TokenSequence, alone: _Alone, prefix: Sequence[int] = ()) -> bool:
    """Return whether beginnings of a sequence, continued together behind a cached prefix, go on as the whole of it."""
    lengths = [sequence.start + COMMON, sequence.start + 2 * COMMON]
    beginnings = [sequence.tokens[:length] for length in lengths]
    following = [sequence.tokens[length : length + COMMON // 2] for length in lengths]
    (expected,) = alone(sequence)

    def continued() -> list[Tensor]:
        return list(forced_logprobs(lm, beginnings, following, cache_prefix(lm, prefix) if prefix else None))

    spans = [slice(length - sequence.start, length - sequence.start + COMMON // 2) for length in lengths]
    return _holds(continued, [expected[span] for span in spans])


def _rounds_alike(lm: LanguageModel, probe: Probe, alone: _Alone) -> bool:
    """Return whether, in the precision of the run, a packed row is about as near to float32 as sequences alone are."""
    compared = [probe.siblings[0], probe.follower]
    # Half precision is slow on processors; where it is fast, the row is as long as the run's.
    strangers = [] if lm.model.device.type == "cpu" else probe.strangers
    with torch.no_grad():
        exact = torch.cat(alone(*compared))
        packed = torch.cat(_packed(lm, [*strangers, *compared])[len(strangers) :])
        single = torch.cat([_padded(lm, [sequence])[0] for sequence in compared])
    rounding = _moved(single, exact).median()
    return bool(_moved(packed, exact).median() <= ROUNDING_RATIO * rounding + ROUNDING_FLOOR)


def _holds(shared: Callable[[], list[Tensor]], alone: Sequence[Tensor]) -> bool:
    """Return whether a shared forward pass runs and gives what sequences alone give."""
    try:
        return _agree(shared(), alone)
    except torch.OutOfMemoryError:
        raise
    # Whatever a family's code says to a mask or a cache of ours, it has to do without.
    except Exception:
        return False


def _agree(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    """Return whether log-probabilities are equal up to float32's rounding, sequence by sequence, block by block."""
    blocks = [block for pair in zip(found, expected, strict=True) for block in _moved(*pair).split(BLOCK)]
    return all(bool(block.quantile(0.5) <= LIMIT) for block in blocks)


def _moved(found: Tensor, expected: Tensor) -> Tensor:
    return (found - expected).abs() / (1 + expected.abs())


def _packed(lm: LanguageModel, sequences: Sequence[TokenSequence], prefix: Sequence[int] = ()) -> list[Tensor]:
    values = packed_token_logprobs(lm, sequences, cache_prefix(lm, prefix) if prefix else None)
    return [row[: len(s.tokens) - s.start] for row, s in zip(values, sequences, strict=True)]


def _padded(lm: LanguageModel, sequences: Sequence[TokenSequence]) -> list[Tensor]:
    values = padded_token_logprobs(lm, sequences)
    return [row[s.start - 1 : len(s.tokens) - 1] for row, s in zip(values, sequences, strict=True)]
