"""How many operations a job can't do without, whoever does it: multiplications and additions.

Every distinct token goes through the weights of each layer once, attends to itself and to the tokens before it, and has
logits where it predicts a token of an answer. Source: 2 operations a weight and token, 4 a query, key and number of a
head. Back through frozen weights goes one product for each forth; back through attention go two.
"""

from collections.abc import Iterable, Sequence

from lofit_cli.models.language_model import LanguageModel
from lofit_cli.models.packing import PackedRow, TokenSequence, pack_row


def scoring_flops(lm: LanguageModel, sequences: Sequence[TokenSequence]) -> float:
    """Return the operations of a forward pass over all sequences."""
    row = pack_row(sequences)
    return _products(lm, row, 0) + _attention(lm, row, 0) + _logits(lm, row)


def training_flops(
    lm: LanguageModel, batches: Iterable[Sequence[TokenSequence]], first_layer: int, is_trunk_kept: bool
) -> float:
    """Return the operations of a step for each batch, back as far as an edit stands.

    Args:
        first_layer: the lowest that is edited; nothing goes back below it.
        is_trunk_kept: what stands below it is known, so that a step begins there.
    """
    rows, begin = [pack_row(batch) for batch in batches], first_layer if is_trunk_kept else 0
    forth = sum(_products(lm, row, begin) + _attention(lm, row, begin) + _logits(lm, row) for row in rows)
    back = sum(
        _products(lm, row, first_layer) + 2 * _attention(lm, row, first_layer) + _logits(lm, row) for row in rows
    )
    return forth + back


def _products(lm: LanguageModel, row: PackedRow, first_layer: int) -> float:
    matrices = (weight for layer in lm.layers[first_layer:] for weight in layer.parameters() if weight.ndim == 2)
    return 2.0 * len(row.tokens) * sum(weight.numel() for weight in matrices)


def _attention(lm: LanguageModel, row: PackedRow, first_layer: int) -> float:
    layers = zip(lm.geometry.heads_per_layer, lm.geometry.head_dims, strict=True)
    return 4.0 * float((row.positions + 1).sum()) * sum(heads * size for heads, size in list(layers)[first_layer:])


def _logits(lm: LanguageModel, row: PackedRow) -> float:
    return 2.0 * len(row.predictors) * lm.model.get_output_embeddings().weight.numel()
