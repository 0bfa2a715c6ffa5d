"""How alike head selections are: shared heads, and how far apart their layers lie."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from statistics import fmean

from scipy.stats import wasserstein_distance

from lofit_cli.paper.selections import Head, Selection


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


def overlap_groups(groups: Mapping[str, Sequence[Selection]]) -> dict[tuple[str, str], Overlap | None]:
    """Compare each group of selections, such as a task's, with each other group and with itself.

    Returns:
        (first, second) -> the mean over all pairs of a selection of the first and one of the second; of a group with
        itself, over the pairs of two seeds of the same fold, None where there is none.
    """
    return {(a, b): _mean(_pairs(groups[a], groups[b], a == b)) for a, b in product(groups, repeat=2)}


def draw_selections(like: Sequence[Selection]) -> list[Selection]:
    """Return a selection at random for each of these: as many heads, of the same model, by its seed alone."""
    return [_draw(selection) for selection in like]


def _draw(selection: Selection) -> Selection:
    heads = [(layer, head) for layer, count in enumerate(selection.heads_per_layer) for head in range(count)]
    drawn = random.Random(selection.seed).sample(heads, len(selection.heads))
    return Selection(selection.fold, selection.seed, tuple(drawn), selection.heads_per_layer)


def _pairs(
    first: Sequence[Selection], second: Sequence[Selection], is_same: bool
) -> Sequence[tuple[Selection, Selection]]:
    if is_same:
        return [(a, b) for a, b in combinations(first, 2) if a.fold == b.fold and a.seed != b.seed]
    return list(product(first, second))


def _mean(pairs: Sequence[tuple[Selection, Selection]]) -> Overlap | None:
    found = [overlap_heads(a.heads, b.heads) for a, b in pairs]
    if not found:
        return None
    return Overlap(*(fmean(getattr(o, name) for o in found) for name in ("shared", "jaccard", "layer_distance")))
