"""How alike head selections are, against the paper's own figure and by hand."""

import json
import os
from pathlib import Path

import pytest

from lofit_cli.paper.layers import layer_shares
from lofit_cli.paper.overlap import Overlap, draw_selections, overlap_groups, overlap_heads
from lofit_cli.paper.selections import Selection, read_author_lists

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


def selection(seed, heads, fold=0):
    return Selection(fold, seed, tuple(heads), (8,) * 6)


def test_groups_are_compared_pair_by_pair():
    groups = {
        "t": [selection(1, [(0, 0), (1, 1)]), selection(2, [(0, 0), (3, 1)]), selection(2, [(5, 5), (5, 6)], fold=1)],
        "c": [selection(1, [(0, 0), (2, 2)])],
    }
    found = overlap_groups(groups)
    # Two seeds of fold 0; the one of fold 1 has none beside it.
    assert found["t", "t"] == Overlap(shared=0.5, jaccard=pytest.approx(1 / 3), layer_distance=1)
    assert found["t", "c"].shared == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert found["t", "c"].layer_distance == found["c", "t"].layer_distance == pytest.approx((0.5 + 0.5 + 4) / 3)
    assert found["c", "c"] is None


def test_heads_drawn_at_random_depend_on_the_seed_alone():
    like = [selection(1, [(0, 0), (2, 2), (5, 7)]), selection(1, [(1, 1), (1, 2), (1, 3)]), selection(2, [(0, 0)])]
    drawn = draw_selections(like)
    assert drawn[0].heads == drawn[1].heads
    assert [len(set(s.heads)) for s in drawn] == [3, 3, 1]
    assert [s.seed for s in drawn] == [1, 1, 2]


def test_layer_shares_are_means_over_selections():
    found = layer_shares([selection(1, [(0, 0), (1, 1)]), selection(2, [(1, 0), (1, 3), (5, 1), (5, 2)])])
    assert found == pytest.approx([0.25, 0.5, 0, 0, 0, 0.25])


@pytest.mark.skipif(not AUTHOR_HEADS.exists(), reason="needs the authors' head lists")
def test_the_authors_heads_give_figure_3():
    (truthfulqa,) = read_author_lists(AUTHOR_HEADS, "llama2-7b", 32, ["truthfulqa"])["truthfulqa"]
    counts = {2: 1, 3: 1, 4: 1, 8: 1, 9: 1, 10: 1, 11: 5, 12: 3, 13: 6, 14: 3, 15: 2, 16: 5, 18: 1, 27: 1}
    assert truthfulqa.heads_per_layer == (32,) * 32
    assert layer_shares([truthfulqa]) == pytest.approx([counts.get(layer, 0) / 32 for layer in range(32)])
