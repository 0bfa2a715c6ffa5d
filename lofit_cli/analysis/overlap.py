"""How alike two head selections are: shared heads, and how far apart their layers lie."""

from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import wasserstein_distance

Head = tuple[int, int]
"""Layer and head."""


@dataclass(frozen=True)
class Overlap:
    """Two selections set side by side.

    Attributes:
        shared: |A n B| / |A|, the share of the first selection's heads that the second has too. LoFiT's Figure 6 shows
            this under the name of the Jaccard similarity.
        jaccard: |A n B| / |A u B|.
        layer_distance: the earth mover's distance between the selections' layers, in layers.
    """

    shared: float
    jaccard: float
    layer_distance: float


def overlap_heads(first: Sequence[Head], second: Sequence[Head]) -> Overlap:
    """Compare two selections of heads, neither of them empty.

    Source: LoFiT (arXiv 2406.01563), appendix F and Figure 6.
    """
    a, b = set(first), set(second)
    return Overlap(
        shared=len(a & b) / len(a),
        jaccard=len(a & b) / len(a | b),
        layer_distance=float(wasserstein_distance([layer for layer, _ in a], [layer for layer, _ in b])),
    )
