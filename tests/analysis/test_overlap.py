"""How alike head selections are, against the paper's own figure and by hand."""

import json
import os
from pathlib import Path

import pytest

from lofit_cli.analysis.overlap import overlap_heads

AUTHOR_HEADS = Path(os.environ.get("LOFIT_SHARED", "../shared")) / "reference" / "author_heads.json"


def test_by_hand():
    found = overlap_heads([(0, 1), (2, 0), (4, 4)], [(0, 1), (5, 0), (4, 3)])
    assert (found.shared, found.jaccard) == pytest.approx((1 / 3, 1 / 5))
    # Layers 0, 2, 4 against 0, 4, 5: sorted, they move by 0, 2 and 1.
    assert found.layer_distance == pytest.approx(1.0)


def test_a_selection_is_like_itself():
    heads = [(3, 1), (3, 2), (7, 0)]
    found = overlap_heads(heads, heads[::-1])
    assert (found.shared, found.jaccard, found.layer_distance) == (1, 1, 0)


@pytest.mark.skipif(not AUTHOR_HEADS.exists(), reason="needs the authors' head lists")
@pytest.mark.parametrize(
    ("tasks", "shared", "layer_distance"),
    [
        (("truthfulqa", "mquake"), 0.19, 4.34),
        (("truthfulqa", "clutrr"), 0.12, 4.97),
        (("mquake", "clutrr"), 0.16, 2.06),
    ],
)
def test_the_authors_heads_give_figure_6(tasks, shared, layer_distance):
    lists = json.loads(AUTHOR_HEADS.read_text())
    heads = [[(layer, head) for layer, head in lists[f"llama2-7b/{task}"][:32]] for task in tasks]
    found = overlap_heads(*heads)
    assert round(found.shared, 2) == pytest.approx(shared, abs=0.005)
    assert round(found.layer_distance, 2) == pytest.approx(layer_distance, abs=0.005)
