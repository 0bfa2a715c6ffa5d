"""Head activations of a frozen model, as features for probes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from lofit_cli.models.logprobs import LanguageModel
from lofit_cli.models.packing import TokenSequence, group_rows


def last_token_activations(
    lm: LanguageModel, sequences: Sequence[TokenSequence], report: Callable[[int], None] = lambda num_sequences: None
) -> Tensor:
    """Return every head's activation at the last token of each sequence.

    Args:
        report: called with the number of sequences done after each forward pass.

    Returns:
        (num_sequences, num_layers, num_heads, head_dim), float32, on the CPU.
    """
    geometry = lm.geometry
    parts = []
    with torch.inference_mode():
        for group in group_rows(([sequence] for sequence in sequences), lm.max_row_tokens):
            batch = [sequence for (sequence,) in group]
            parts.append(_batch_activations(lm, batch))
            report(len(batch))
    return torch.cat(parts).view(len(sequences), geometry.num_layers, geometry.num_heads, geometry.head_dim)


def _batch_activations(lm: LanguageModel, sequences: Sequence[TokenSequence]) -> Tensor:
    """Return (num_sequences, num_layers, num_heads * head_dim); the rows are padded on the right."""
    tokens = pad_sequence([torch.tensor(s.tokens) for s in sequences], batch_first=True).to(lm.model.device)
    lengths = torch.tensor([len(s.tokens) for s in sequences], device=tokens.device)
    attended = (torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]).long()
    rows = torch.arange(len(sequences), device=tokens.device)
    with _recorded_inputs(lm.output_projections) as inputs:
        lm.model(input_ids=tokens, attention_mask=attended, use_cache=False)
    return torch.stack([activation[rows, lengths - 1] for activation in inputs], dim=1).float().cpu()


@contextmanager
def _recorded_inputs(modules: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Collect the input of each module, in the order in which they run, inside a `with` block."""
    inputs: list[Tensor] = []

    def record(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        inputs.append(args[0])

    with ExitStack() as stack:
        for module in modules:
            stack.callback(module.register_forward_pre_hook(record).remove)
        yield inputs
