"""Checks of a loaded model: that editing, folding, batching and training compute on it what they should."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

from lofit_cli.doctor.finding import Finding
from lofit_cli.exports.fold import fold_edit
from lofit_cli.exports.proof import TEXTS, TOLERANCE
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.models.activations import last_token_activations
from lofit_cli.models.attention_watch import RUN_ERRORS
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.devices import is_offloaded
from lofit_cli.models.forward import all_logits, packed_token_logprobs, padded_batches, padded_token_logprobs
from lofit_cli.models.hooks import hooked_output
from lofit_cli.models.logprobs import answer_logprobs, tokenize
from lofit_cli.models.memory import is_out_of_memory
from lofit_cli.models.packing import TokenSequence, group_rows
from lofit_cli.models.packing_check import HALF_FLOOR, HALF_RATIO
from lofit_cli.models.precision import in_float32
from lofit_cli.models.quantization import is_quantised

NUM_HEADS = 8
STRENGTH = 3.0
"""An offset's size, in standard deviations of its head's activations: enough to be seen in half precision too."""
DISTRACTION = " I have no comment."


@torch.no_grad()
def check_zero_edit(lm: Decoder) -> Finding:
    """Attach an edit of zeros on every head: the logits must be the very same."""
    (sequence, *_) = _sequences(lm)[0]
    zeros = torch.zeros(lm.geometry.total_heads, lm.geometry.head_dim)
    edit = HeadEdit(lm.geometry, lm.geometry.every_head(), zeros, zeros.clone()).to(lm.device)
    before = all_logits(lm, [sequence.tokens])
    with edit.attach(lm):
        after = all_logits(lm, [sequence.tokens])
    moved = float((after - before).abs().max())
    if torch.equal(before, after):
        return Finding(
            "zero edit", "ok", f"{len(edit.heads)} heads edited by zeros: the logits are the same, bit by bit"
        )
    return Finding("zero edit", "FAILED", f"an edit of zeros moves a logit by {moved:.2g}; choose another model")


@torch.no_grad()
def check_folded_weights(lm: Decoder) -> Finding:
    """Set offsets on a few heads by hook against the same in the weights, as `lofit export` folds them in."""
    name = "folded weights"
    if is_quantised(lm.model) or is_offloaded(lm.model):
        why = "quantised" if is_quantised(lm.model) else "out of memory"
        return Finding(name, "warning", f"the weights are {why}, so that nothing can be folded into them; not checked")
    sequences, edit = _flat(lm), _offsets(lm)
    base = _one_by_one(lm, sequences)
    with edit.attach(lm):
        hooked = _one_by_one(lm, sequences)
    with _added(lm, fold_edit(lm, edit).biases):
        folded = _one_by_one(lm, sequences)
    allowed, moved, effect = tolerance(lm), _largest(hooked, folded), _largest(hooked, base)
    words = f"offsets on {len(edit.heads)} heads move a token by {effect:.2g} nats; by hook and in the weights they "
    words += f"differ by {moved:.1e}, and {allowed:.1e} is allowed"
    if not moved <= allowed:
        return Finding(name, "FAILED", f"{words}; set model.dtype=float32, and report it where that does not help")
    if not effect > allowed:
        return Finding(name, "warning", f"{words}, so that this tells nothing; set model.dtype=float32 to be sure")
    return Finding(name, "ok", words)


@torch.no_grad()
def check_batching(lm: Decoder) -> Finding:
    """Set the model's chosen way of sharing forward passes against each sequence alone, token by token."""
    name, flat = "batching", _flat(lm)
    if lm.batching == "single":
        return Finding(name, "warning", "each sequence has a forward pass of its own, which is slow; plan time for it")
    shared, num_passes = _shared(lm)
    allowed, moved = tolerance(lm), _largest(shared, _one_by_one(lm, flat))
    words = f"{len(flat)} {lm.batching} sequences in {num_passes} pass{'es' * (num_passes > 1)} and one by one "
    words += f"differ by {moved:.1e} nats on a token, and {allowed:.1e} is allowed"
    if moved <= allowed:
        return Finding(name, "ok", words)
    return Finding(name, "FAILED", f"{words}; set model.dtype=float32, and report it where that does not help")


def _shared(lm: Decoder) -> tuple[list[Tensor], int]:
    """Return each answer's log-probabilities from shared forward passes, and how many passes that were."""
    if lm.batching == "packed":
        groups = group_rows(_sequences(lm), lm.max_row_tokens)
        rows = [[sequence for item in group for sequence in item] for group in groups]
        values = [value for row in rows for value in packed_token_logprobs(lm, row, None)]
        return [value[: len(s.tokens) - s.start] for s, value in zip(_flat(lm), values, strict=True)], len(rows)
    batches = list(padded_batches(lm, _flat(lm)))
    values = [value for batch in batches for value in padded_token_logprobs(lm, batch)]
    return [_answer(s, value) for s, value in zip(_flat(lm), values, strict=True)], len(batches)


@torch.no_grad()
def check_batch_size(lm: Decoder) -> Finding:
    """Set equally long texts in one batch, without any padding, against each text alone."""
    flat = _flat(lm)
    length = min(len(sequence.tokens) for sequence in flat)
    rows = list(dict.fromkeys(sequence.tokens[:length] for sequence in flat))
    together = all_logits(lm, rows).log_softmax(dim=-1)
    alone = torch.cat([all_logits(lm, [row]) for row in rows]).log_softmax(dim=-1)
    said = torch.tensor(rows, device=together.device)[:, 1:, None]
    gaps = [values[:, :-1].gather(-1, said) for values in (together, alone)]
    allowed, moved = tolerance(lm), float((gaps[0] - gaps[1]).abs().max())
    words = (
        f"a batch of {len(rows)} and batches of 1 differ by {moved:.1e} nats on a token, and {allowed:.1e} is allowed"
    )
    if moved <= allowed:
        return Finding("batch of N", "ok", words)
    return Finding("batch of N", "FAILED", f"{words}: texts of one batch see each other; choose another model")


def check_gradient(lm: Decoder) -> Finding:
    """Take a gradient with respect to an offset on every head."""
    geometry = lm.geometry
    edit = HeadEdit(geometry, geometry.every_head(), offset=torch.zeros(geometry.total_heads, geometry.head_dim))
    edit.to(lm.device)
    with edit.attach(lm):
        found = answer_logprobs(lm, _sequences(lm)[0]).sum()
        if found.requires_grad:
            found.backward()
    gradient = next(edit.parameters()).grad
    sizes = torch.zeros(1) if gradient is None else gradient.norm(dim=-1).cpu()
    if not bool(sizes.isfinite().all()) or not bool(sizes.any()):
        what = "no gradient" if not sizes.any() else "a gradient that is not finite"
        return Finding(
            "gradient", "FAILED", f"{what} reaches the offsets; set model.dtype=float32 or choose another model"
        )
    words = f"it reaches the offsets of {int((sizes > 0).sum())} of {len(sizes)} heads; the median size is "
    words += f"{float(sizes.median()):.1e}"
    if bool((sizes > 0).all()):
        return Finding("gradient", "ok", words)
    return Finding("gradient", "warning", f"{words}; heads without one can't be trained, so look at what is selected")


MODEL_CHECKS: dict[str, Callable[[Decoder], Finding]] = {
    "zero edit": check_zero_edit,
    "folded weights": check_folded_weights,
    "batching": check_batching,
    "batch of N": check_batch_size,
    "gradient": check_gradient,
}


def check_model(lm: Decoder) -> Iterator[Finding]:
    """Yield what is found of a loaded model, one check at a time."""
    about = f"{lm.geometry}; hidden size {lm.hidden_size}, {lm.batching} rows of {lm.max_row_tokens} tokens, "
    yield Finding("heads", "ok", about + str(lm.model.dtype).removeprefix("torch."))
    for name, check in MODEL_CHECKS.items():
        try:
            yield check(lm)
        except RUN_ERRORS as error:
            if is_out_of_memory(error):
                raise
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            yield Finding(name, "FAILED", f"it can't be checked on this model ({reason}); choose another model")


@torch.no_grad()
def tolerance(lm: Decoder) -> float:
    """Return the nats by which a token may move: in half precision, a few times what its own rounding moves it by."""
    if lm.model.dtype == torch.float32:
        return TOLERANCE
    sequences = _flat(lm)
    rounded = _one_by_one(lm, sequences)
    with in_float32(lm.model, lm.layers):
        exact = _one_by_one(lm, sequences)
    return HALF_FLOOR + HALF_RATIO * _largest(rounded, exact)


def _sequences(lm: Decoder) -> list[list[TokenSequence]]:
    """Return our texts as items of two answers, which share a prompt."""
    return tokenize(lm, [(beginning, (rest, DISTRACTION)) for beginning, rest in TEXTS])


def _flat(lm: Decoder) -> list[TokenSequence]:
    return [sequence for item in _sequences(lm) for sequence in item]


def _one_by_one(lm: Decoder, sequences: Sequence[TokenSequence]) -> list[Tensor]:
    """Return the log-probability of each answer token, from a forward pass for each sequence."""
    return [_answer(sequence, padded_token_logprobs(lm, [sequence])[0]) for sequence in sequences]


def _answer(sequence: TokenSequence, values: Tensor) -> Tensor:
    return values[sequence.start - 1 : len(sequence.tokens) - 1]


def _largest(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    # Of torch's, because Python's `max` passes over what is no number.
    return float(torch.stack([(a - b).abs().max() for a, b in zip(found, expected, strict=True)]).max())


def _offsets(lm: Decoder) -> HeadEdit:
    """Return random offsets on heads that are spread over the layers, as large as makes a difference."""
    heads = lm.geometry.every_head().nonzero()
    chosen = heads[torch.linspace(0, len(heads) - 1, min(NUM_HEADS, len(heads))).long()]
    mask = torch.zeros_like(lm.geometry.every_head())
    mask[chosen[:, 0], chosen[:, 1]] = True
    sizes = last_token_activations(lm, _flat(lm)).std(dim=0)[mask]
    noise = torch.randn(sizes.shape, generator=torch.Generator().manual_seed(0))
    return HeadEdit(lm.geometry, mask, offset=STRENGTH * sizes * noise).to(lm.device)


@contextmanager
def _added(lm: Decoder, biases: dict[str, Tensor]) -> Iterator[None]:
    """Add to the biases of maps, by path, inside a `with` block; to the output of a map that has none."""
    with ExitStack() as stack:
        for path, bias in biases.items():
            module = lm.model.get_submodule(path)
            own = getattr(module, "bias", None)
            if isinstance(own, Tensor):
                stack.callback(setattr, own, "data", own.data)
                own.data = own.data + bias.to(own.dtype)
            else:
                stack.enter_context(hooked_output(module, _adder(bias)))
        yield


def _adder(bias: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda output: (output.float() + bias).to(output.dtype)
