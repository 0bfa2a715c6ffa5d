"""What a frozen model makes of the last token of a text: head activations and hidden states, as features."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch
from torch import Tensor, nn

from lofit_cli.models.decoder import Decoder
from lofit_cli.models.forward import no_logits, pad_right, padded_batches
from lofit_cli.models.hooks import hooked_input, hooked_layer
from lofit_cli.models.packing import TokenSequence
from lofit_cli.models.tensor_parallel import every_head


def last_token_activations(
    lm: Decoder, sequences: Sequence[TokenSequence], report: Callable[[int], None] = lambda num_sequences: None
) -> Tensor:
    """Return every head's activation at the last token of each sequence.

    Args:
        report: called with the number of sequences done after each forward pass.

    Returns:
        (num_sequences, num_layers, max_heads, head_dim), float32, on the CPU; 0 where there is no head.
    """
    geometry = lm.geometry
    values = torch.zeros(len(sequences), geometry.num_layers, geometry.max_heads, geometry.head_dim)
    found = _last_tokens(lm, sequences, _heads_of(lm), report)
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
    return torch.stack(_last_tokens(lm, sequences, _outputs_of(lm.layers), report), dim=1)


Recorder = Callable[[list[Tensor]], AbstractContextManager[None]]
"""Collects, in order, one (batch, seq, width) tensor a layer into a list while the model runs in its `with` block."""


def _last_tokens(
    lm: Decoder, sequences: Sequence[TokenSequence], recorder: Recorder, report: Callable[[int], None]
) -> list[Tensor]:
    """Return (num_sequences, width) for each tensor that is recorded, float32, on the CPU."""
    parts = []
    with torch.inference_mode():
        for batch in padded_batches(lm, sequences):
            parts.append(_batch_last_tokens(lm, batch, recorder))
            report(len(batch))
    return [torch.cat(batches) for batches in zip(*parts, strict=True)]


def _batch_last_tokens(lm: Decoder, sequences: Sequence[TokenSequence], recorder: Recorder) -> list[Tensor]:
    """Return the same for one forward pass; its rows are padded on the right."""
    tokens, attended = pad_right(sequences, lm.device)
    last = torch.tensor([len(s.tokens) - 1 for s in sequences]).to(tokens.device, non_blocking=True)
    rows = torch.arange(len(sequences), device=tokens.device)
    found: list[Tensor] = []
    with recorder(found), lm.token_positions.padded([s.start for s in sequences], tokens):
        lm.model(input_ids=tokens, attention_mask=attended, use_cache=False, **no_logits(lm.model))
    return [values[rows, last].float().cpu() for values in found]


def _heads_of(lm: Decoder) -> Recorder:
    return lambda found: _each(hooked_input(module, found.append) for module in lm.output_projections.values())


def _outputs_of(layers: Sequence[nn.Module]) -> Recorder:
    return lambda found: _each(hooked_layer(layer, found.append) for layer in layers)


@contextmanager
def _each(hooks: Iterable[AbstractContextManager[None]]) -> Iterator[None]:
    with ExitStack() as stack:
        for hook in hooks:
            stack.enter_context(hook)
        yield
