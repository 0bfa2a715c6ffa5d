"""What a frozen model makes of the last token of a text: head activations and hidden states, as features."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch
from torch import Tensor, nn

from lofit_cli.models.forward import no_logits, pad_right, padded_batches
from lofit_cli.models.hooks import hooked_input, hooked_layer
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.models.packing import TokenSequence


def last_token_activations(
    lm: LanguageModel, sequences: Sequence[TokenSequence], report: Callable[[int], None] = lambda num_sequences: None
) -> Tensor:
    """Return every head's activation at the last token of each sequence.

    Args:
        report: called with the number of sequences done after each forward pass.

    Returns:
        (num_sequences, num_layers, heads_per_layer, head_dim), float32, on the CPU.
    """
    geometry = lm.geometry
    flat = _last_tokens(lm, sequences, _inputs_of(lm.output_projections), report)
    return flat.view(len(sequences), geometry.num_layers, geometry.heads_per_layer, geometry.head_dim)


def last_token_hidden_states(
    lm: LanguageModel, sequences: Sequence[TokenSequence], report: Callable[[int], None] = lambda num_sequences: None
) -> Tensor:
    """Return the hidden state after every layer at the last token of each sequence.

    Returns:
        (num_sequences, num_layers, hidden), float32, on the CPU.
    """
    return _last_tokens(lm, sequences, _outputs_of(lm.layers), report)


Recorder = Callable[[list[Tensor]], AbstractContextManager[None]]
"""Collects, in order, one (batch, seq, width) tensor a layer into a list while the model runs in its `with` block."""


def _last_tokens(
    lm: LanguageModel, sequences: Sequence[TokenSequence], recorder: Recorder, report: Callable[[int], None]
) -> Tensor:
    parts = []
    with torch.inference_mode():
        for batch in padded_batches(lm, sequences):
            parts.append(_batch_last_tokens(lm, batch, recorder))
            report(len(batch))
    return torch.cat(parts)


def _batch_last_tokens(lm: LanguageModel, sequences: Sequence[TokenSequence], recorder: Recorder) -> Tensor:
    """Return (num_sequences, num_layers, width); the rows are padded on the right."""
    tokens, attended = pad_right(sequences, lm.model.device)
    last = torch.tensor([len(s.tokens) - 1 for s in sequences]).to(tokens.device, non_blocking=True)
    rows = torch.arange(len(sequences), device=tokens.device)
    found: list[Tensor] = []
    with recorder(found):
        lm.model(input_ids=tokens, attention_mask=attended, use_cache=False, **no_logits(lm.model))
    return torch.stack([values[rows, last] for values in found], dim=1).float().cpu()


def _inputs_of(modules: Sequence[nn.Module]) -> Recorder:
    return lambda found: _each(hooked_input(module, found.append) for module in modules)


def _outputs_of(layers: Sequence[nn.Module]) -> Recorder:
    return lambda found: _each(hooked_layer(layer, found.append) for layer in layers)


@contextmanager
def _each(hooks: Iterable[AbstractContextManager[None]]) -> Iterator[None]:
    with ExitStack() as stack:
        for hook in hooks:
            stack.enter_context(hook)
        yield
