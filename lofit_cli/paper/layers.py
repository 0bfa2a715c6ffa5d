"""Which layers selected heads are in."""

from collections.abc import Sequence

from lofit_cli.paper.selections import Selection


def layer_shares(selections: Sequence[Selection]) -> list[float]:
    """Return for each layer its share of the selected heads, averaged over selections: (num_layers,), sum 1.

    Source: LoFiT (arXiv 2406.01563), Figure 3.
    """
    num_layers = len(selections[0].heads_per_layer)
    return [sum(_share(selection, layer) for selection in selections) / len(selections) for layer in range(num_layers)]


def _share(selection: Selection, layer: int) -> float:
    return sum(where == layer for where, _ in selection.heads) / len(selection.heads)
