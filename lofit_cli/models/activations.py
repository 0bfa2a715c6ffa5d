"""What a frozen model makes of the last token of a text: head activations and hidden states, as features."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch
from torch import Tensor, nn

from lofit_cli.models.decoder import Decoder
from lofit_cli.models.forward import pad_right, padded_batches
from lofit_cli.models.hooks import hooked_input, hooked_layer, hooked_output
from lofit_cli.models.kept_logits import no_logits
from lofit_cli.models.packing import TokenSequence
from lofit_cli.models.tensor_parallel import every_head


def last_token_activations(
    lm: Decoder,
    sequences: Sequence[TokenSequence],
    report: Callable[[int], None] = lambda num_sequences: None,
    num_last: int = 1,
) -> Tensor:
    """Return every head's activation at the last token of each sequence.

    Args:
        num_last: of how many last tokens of the answer the mean is taken; of all where it has fewer.
        report: called with the number of sequences done after each forward pass.

    Returns:
        (num_sequences, num_layers, max_heads, head_dim), float32, on the CPU; 0 where there is no head.
    """
    geometry = lm.geometry
    values = torch.zeros(len(sequences), geometry.num_layers, geometry.max_heads, geometry.head_dim)
    found = _last_tokens(lm, sequences, _heads_of(lm), report, num_last)
    for layer, own in zip(lm.output_projections, found, strict=True):
        num_heads, head_dim = geometry.heads_per_layer[layer], geometry.head_dims[layer]
        flat = every_head(own, num_heads * head_dim)
        values[:, layer, :num_heads, :head_dim] = flat.view(len(sequences), num_heads, head_dim)
    return values


def last_token_hidden_states(
    lm: Decoder, sequences: Sequence[TokenSequence], report: Callable[[int], None] = lambda num_sequences: None
) -> Tensor:
    """Return the hidden state after every layer at the last token of each sequence.

    Returns:
        (num_sequences, num_layers, hidden), float32, on the CPU.
    """
    return torch.stack(_last_tokens(lm, sequences, _layers_of(lm), report), dim=1)


def last_token_outputs(
    lm: Decoder,
    modules: Sequence[nn.Module],
    sequences: Sequence[TokenSequence],
    report: Callable[[int], None] = lambda num_sequences: None,
) -> Tensor:
    """Return what modules put out at the last token of each sequence.

    Returns:
        (num_sequences, num_modules, width), float32, on the CPU.
    """
    return torch.stack(_last_tokens(lm, sequences, _outputs_of(modules), report), dim=1)


Recorder = Callable[[list[Tensor]], AbstractContextManager[None]]
"""Collects, in order, one (batch, seq, width) tensor a layer into a list while the model runs in its `with` block."""


def _last_tokens(
    lm: Decoder,
    sequences: Sequence[TokenSequence],
    recorder: Recorder,
    report: Callable[[int], None],
    num_last: int = 1,
) -> list[Tensor]:
    """Return (num_sequences, width) for each tensor that is recorded, float32, on the CPU."""
    parts = []
    with torch.inference_mode():
        for batch in padded_batches(lm, sequences):
            parts.append(_batch_last_tokens(lm, batch, recorder, num_last))
            report(len(batch))
    return [torch.cat(batches) for batches in zip(*parts, strict=True)]


def _batch_last_tokens(
    lm: Decoder, sequences: Sequence[TokenSequence], recorder: Recorder, num_last: int
) -> list[Tensor]:
    """Return the same for one forward pass; its rows are padded on the right."""
    tokens, attended = pad_right(sequences, lm.device)
    places = _last_places(sequences, num_last, tokens.device)
    found: list[Tensor] = []
    with recorder(found), lm.token_positions.padded([s.start for s in sequences], tokens):
        lm.model(input_ids=tokens, attention_mask=attended, use_cache=False, **no_logits(lm.model))
    # OPT's feed-forward networks see the tokens of all rows as one.
    return [_means(values.reshape(*tokens.shape, -1), *places).cpu() for values in found]


def _last_places(sequences: Sequence[TokenSequence], num_last: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return (batch, most) the places of the last tokens of each answer, and 1 where it has so many, else 0."""
    lengths = torch.tensor([len(s.tokens) - s.start for s in sequences]).clamp(max=num_last)
    back = torch.arange(int(lengths.max()))
    places = torch.tensor([len(s.tokens) - 1 for s in sequences])[:, None] - back
    counts = (back < lengths[:, None]).float()
    return places.clamp(min=0).to(device, non_blocking=True), counts.to(device, non_blocking=True)


def _means(values: Tensor, places: Tensor, counts: Tensor) -> Tensor:
    """Return (batch, width) float32, the mean over the places of each row of (batch, seq, width) that count."""
    rows = torch.arange(len(values), device=values.device)[:, None]
    picked = values[rows, places].float() * counts[..., None]
    return picked.sum(dim=1) / counts.sum(dim=1, keepdim=True)


def _heads_of(lm: Decoder) -> Recorder:
    return lambda found: _each(hooked_input(module, found.append) for module in lm.output_projections.values())


def _layers_of(lm: Decoder) -> Recorder:
    return lambda found: _each(hooked_layer(layer, found.append) for layer in lm.layers)


def _outputs_of(modules: Sequence[nn.Module]) -> Recorder:
    return lambda found: _each(hooked_output(module, found.append) for module in modules)


@contextmanager
def _each(hooks: Iterable[AbstractContextManager[None]]) -> Iterator[None]:
    with ExitStack() as stack:
        for hook in hooks:
            stack.enter_context(hook)
        yield
