"""Whether sequences can share a forward pass without a change of result, asked of the model token by token."""

import inspect
import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lofit_cli.console import say
from lofit_cli.errors import RunError, UserError
from lofit_cli.models.attention_masks import WINDOWS, attention_kinds
from lofit_cli.models.continuation import forced_logprobs
from lofit_cli.models.decoder import Batching, Decoder
from lofit_cli.models.forward import cache_prefix, packed_token_logprobs, padded_token_logprobs
from lofit_cli.models.generation import can_share_prefix
from lofit_cli.models.hooks import hooked_output
from lofit_cli.models.memory import is_out_of_memory
from lofit_cli.models.packing import TokenSequence
from lofit_cli.models.packing_probe import ANSWER, COMMON, Probe, foreign_windows, make_probe
from lofit_cli.models.precision import HALVES, in_float32
from lofit_cli.models.quantization import mixes_tokens, without_mixing

FLOOR = 5e-7
ROUNDING_RATIO = 10
"""In float32 a token's log-probability may move by so much, relative to 1 + its size, and so many times its rounding.

The rounding is the model's own: what noise in the last bit of its embeddings moves. Packing an untrained model moves
it by at most 1e-7 and a leak by 1e-5 or more; a trained one by 1e-6 and a leak by 1e-2 or more.
"""

BLOCK = 4
"""Tokens over which the median is taken: a leak moves all that follow it, a router's flipped choice moves one."""

HALF_RATIO = 4
HALF_FLOOR = 1e-3
"""In half precision, rows may be so many times as far from float32 as sequences alone are, and this much more."""

STATEFUL = re.compile("Mamba|SSM|Recurr|R[Ww][Kk][Vv]|Retention|Delta_?Net|LinearAtt|Lightning|ShortConv")
"""Names of layers that hand a state from token to token, past any mask."""

SLOWER = {
    "padded": "does not score packed rows as it scores sequences one by one: falling back to padded batches, which "
    "are slower",
    "single": "gives other numbers in a batch than one by one: each sequence gets a forward pass of its own, which is "
    "slow",
}


def choose_batching(lm: Decoder) -> Batching:
    """Return the fastest way of sharing forward passes that changes no result, saying so where it is a slower one.

    Raises:
        UserError: the model sees later tokens when it predicts earlier ones.
        RunError: it does not run at all.
    """
    probe = make_probe(lm)
    # What a token sees does not depend on the precision, and in float32 no rounding hides what it must not see.
    with torch.no_grad(), in_float32(lm.model, lm.layers), without_mixing(lm.model):
        alone = _Alone(lm, probe)
        _refuse_lookahead(lm, probe, alone)
        batching = _fastest(lm, probe, alone)
    if batching == "packed" and lm.model.dtype in HALVES and not _rounds_alike(lm, probe, alone):
        batching = "padded"
    if mixes_tokens(lm.model):
        batching = "single"
    if batching != "packed":
        say(f"model '{lm.id}' {SLOWER[batching]}")
    return batching


class _Alone:
    """The log-probabilities of sequences, each from a forward pass of its own, and how far rounding moves them."""

    def __init__(self, lm: Decoder, probe: Probe) -> None:
        self._lm = lm
        self._known: dict[TokenSequence, Tensor] = {}
        with hooked_output(lm.model.get_input_embeddings(), _last_bit_noise):
            noisy = self._compute(probe.follower)
        rounding = _block_medians([lm.require_finite(noisy)], self(probe.follower))
        self._limit = FLOOR + ROUNDING_RATIO * max(rounding)

    def __call__(self, *sequences: TokenSequence) -> list[Tensor]:
        """Return one number for each answer token of each sequence."""
        for sequence in sequences:
            if sequence not in self._known:
                self._known[sequence] = self._lm.require_finite(self._compute(sequence))
        return [self._known[sequence] for sequence in sequences]

    def equals(self, found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
        """Return whether log-probabilities are equal up to rounding, sequence by sequence, block by block."""
        return all(moved <= self._limit for moved in _block_medians(found, expected))

    def _compute(self, sequence: TokenSequence) -> Tensor:
        try:
            return _padded(self._lm, [sequence])[0]
        except Exception as error:
            if is_out_of_memory(error):
                raise
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise RunError(f"model '{self._lm.id}' does not run on plain tokens ({reason}); choose another")


def _last_bit_noise(values: Tensor) -> Tensor:
    signs = torch.randint(0, 2, values.shape, generator=torch.Generator().manual_seed(0)).to(values) * 2 - 1
    return values * (1 + torch.finfo(torch.float32).eps * signs)


def _refuse_lookahead(lm: Decoder, probe: Probe, alone: _Alone) -> None:
    """Refuse a model in which a token's probability depends on a token after it."""
    first, second = (values[: COMMON - ANSWER] for values in alone(*probe.siblings))
    if not alone.equals([first], [second]):
        raise UserError(
            f"model '{lm.id}' sees later tokens when it predicts earlier ones, so its probabilities of an answer mean "
            "nothing; choose a decoder (or, for a BERT-like model, one trained and saved with is_decoder=true)"
        )


def _fastest(lm: Decoder, probe: Probe, alone: _Alone) -> Batching:
    if not _pads(lm, probe, alone):
        return "single"
    return "packed" if _takes_masks(lm, probe) and _packs(lm, probe, alone) else "padded"


def _pads(lm: Decoder, probe: Probe, alone: _Alone) -> bool:
    """Return whether rows padded on the right, for scores, or on the left, for texts, equal sequences alone."""
    sequences = [probe.follower, probe.siblings[0]]
    right = _holds(alone, lambda: _padded(lm, sequences), alone(*sequences))
    return right and _continues(lm, probe.follower, alone)


def _takes_masks(lm: Decoder, probe: Probe) -> bool:
    """Return whether nothing but attention passes from token to token, in windows that our masks follow."""
    modules = [module for layer in lm.layers for module in layer.modules()]
    stateful = getattr(lm.model, "_is_stateful", False) or any(
        isinstance(module, nn.RNNBase | nn.Conv1d) or STATEFUL.search(type(module).__name__) for module in modules
    )
    kinds = attention_kinds(lm.model.config.get_text_config(decoder=True))
    understood = kinds <= {"full_attention", *WINDOWS}
    in_reach = all(size < probe.reach for size in foreign_windows(lm))
    return understood and in_reach and not stateful and "position_ids" in inspect.signature(lm.model.forward).parameters


def _packs(lm: Decoder, probe: Probe, alone: _Alone) -> bool:
    """Return whether packed rows, with and without a cached prefix, give what sequences alone give."""
    row = [*probe.strangers, *probe.siblings, probe.follower]
    compared = slice(len(probe.strangers), None)
    behind_prefix = [probe.cousin, *probe.siblings]
    return (
        _holds(alone, lambda: _packed(lm, row)[compared], alone(*row[compared]))
        and _holds(alone, lambda: _packed(lm, behind_prefix, probe.prefix), alone(*behind_prefix))
        and (not can_share_prefix(lm, probe.reach) or _continues(lm, probe.siblings[0], alone, probe.prefix))
    )


def _continues(lm: Decoder, sequence: TokenSequence, alone: _Alone, prefix: Sequence[int] = ()) -> bool:
    """Return whether beginnings of a sequence, continued together behind a cached prefix, go on as each on its own."""
    lengths = [sequence.start + COMMON, sequence.start + 2 * COMMON]
    beginnings = [sequence.tokens[:length] for length in lengths]
    following = [sequence.tokens[length : length + COMMON // 2] for length in lengths]
    spans = [slice(length - sequence.start, length - sequence.start + COMMON // 2) for length in lengths]

    def continued() -> list[Tensor]:
        return list(forced_logprobs(lm, beginnings, following, cache_prefix(lm, prefix) if prefix else None))

    if _holds(alone, continued, [alone(sequence)[0][span] for span in spans]):
        return True
    # Some families compute a token after a cache in another way than as a part of the whole.
    pairs = zip(beginnings, following, strict=True)
    return _holds(alone, continued, [forced_logprobs(lm, [one], [rest], None)[0] for one, rest in pairs])


def _rounds_alike(lm: Decoder, probe: Probe, alone: _Alone) -> bool:
    """Return whether, in the precision of the run, a packed row is about as near to float32 as sequences alone are."""
    compared = [probe.siblings[0], probe.follower]
    # Half precision is slow on processors; where it is fast, the row is as long as the run's.
    strangers = [] if lm.device.type == "cpu" else probe.strangers
    with torch.no_grad():
        exact = torch.cat(alone(*compared))
        packed = torch.cat(_packed(lm, [*strangers, *compared])[len(strangers) :])
        single = torch.cat([_padded(lm, [sequence])[0] for sequence in compared])
    rounding = _moved(single, exact).median()
    return bool(_moved(packed, exact).median() <= HALF_RATIO * rounding + HALF_FLOOR)


def _holds(alone: _Alone, shared: Callable[[], list[Tensor]], expected: Sequence[Tensor]) -> bool:
    """Return whether a shared forward pass runs and gives what sequences alone give."""
    try:
        return alone.equals(shared(), expected)
    # Whatever a family's code says to a mask or a cache of ours, it has to do without.
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return False


def _block_medians(found: Sequence[Tensor], expected: Sequence[Tensor]) -> list[float]:
    blocks = [block for pair in zip(found, expected, strict=True) for block in _moved(*pair).split(BLOCK)]
    return torch.stack([block.quantile(0.5) for block in blocks]).tolist()


def _moved(found: Tensor, expected: Tensor) -> Tensor:
    return (found - expected).abs() / (1 + expected.abs())


def _packed(lm: Decoder, sequences: Sequence[TokenSequence], prefix: Sequence[int] = ()) -> list[Tensor]:
    values = packed_token_logprobs(lm, sequences, cache_prefix(lm, prefix) if prefix else None)
    return [row[: len(s.tokens) - s.start] for row, s in zip(values, sequences, strict=True)]


def _padded(lm: Decoder, sequences: Sequence[TokenSequence]) -> list[Tensor]:
    values = padded_token_logprobs(lm, sequences)
    return [row[s.start - 1 : len(s.tokens) - 1] for row, s in zip(values, sequences, strict=True)]
