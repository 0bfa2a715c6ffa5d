"""Selections are read from the run directories of scripts/reproduce and from lists of heads."""

import json

import pytest
from paper_runs import write_evaluation, write_selection

from lofit_cli.errors import UserError
from lofit_cli.paper.selections import Selection, read_author_lists, read_selections
from lofit_cli.paper.transfer import read_transfers


def test_selections_by_fold_and_seed(tmp_path):
    for fold, seed in ((1, 42), (0, 42), (0, 1)):
        write_selection(tmp_path / f"truthfulqa-{fold}/seed-{seed}/heads-scale", [(0, 1), (2, seed % 4)], fold, seed)
    write_selection(tmp_path / "truthfulqa_generation-0/seed-1/heads-scale", [(1, 1)], 0, 1)
    (tmp_path / "truthfulqa-0/seed-7/heads-scale").mkdir(parents=True)
    write_selection(tmp_path / "truthfulqa-0/seed-8/heads-scale", [(1, 1)], 0, 8)
    (tmp_path / "truthfulqa-0/seed-8/heads-scale/manifest.json").write_text('{"status": "failed"}')
    found = read_selections(tmp_path, "truthfulqa")
    assert [(s.fold, s.seed) for s in found] == [(0, 1), (0, 42), (1, 42)]
    assert found[0] == Selection(0, 1, ((0, 1), (2, 1)), (4, 4, 4))


def test_no_selection_is_refused(tmp_path):
    with pytest.raises(UserError, match="clutrr-FOLD/seed-SEED/heads-scale; select the heads first"):
        read_selections(tmp_path, "clutrr")


def test_author_lists(tmp_path):
    file = tmp_path / "heads.json"
    file.write_text(json.dumps({"source": "us", "big/t": [[3, 0], [0, 1], [2, 2]], "big/c": [[0, 0], [1, 5], [0, 2]]}))
    found = read_author_lists(file, "big", 2, ["c", "t"])
    assert found == {
        "c": [Selection(0, 0, ((0, 0), (1, 5)), (6,) * 4)],
        "t": [Selection(0, 0, ((3, 0), (0, 1)), (6,) * 4)],
    }
    with pytest.raises(UserError, match="no model bug; did you mean 'big'"):
        read_author_lists(file, "bug", 2, ["t"])
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(UserError, match=r"is not an object of MODEL/TASK"):
        read_author_lists(tmp_path / "list.json", "big", 2, ["t"])
    with pytest.raises(UserError, match=r"no big/d; .*allowed: c, t"):
        read_author_lists(file, "big", 2, ["t", "d"])
    with pytest.raises(UserError, match="fewer than 4 heads for big/t"):
        read_author_lists(file, "big", 4, ["t"])


def test_transfers_average_seeds_and_keep_folds(tmp_path):
    for fold, seed, scores in ((0, 1, [1, 0]), (0, 42, [0, 0]), (1, 1, [1, 1, 1])):
        write_evaluation(tmp_path / f"t-{fold}/seed-{seed}/eval-lofit-scale-from-c", scores, fold)
    write_evaluation(tmp_path / "c-0/seed-1/eval-lofit-random", [1, 0], 0)
    (tmp_path / "c-0/seed-2/eval-lofit-random").mkdir(parents=True)
    (tmp_path / "c-0/seed-2/eval-lofit-random/manifest.json").write_text('{"status": "failed"}')
    found = {(t.source, t.target): t for t in read_transfers(tmp_path, ["t", "c"])}
    assert set(found) == {("c", "t"), ("random", "c")}
    assert {fold: values.tolist() for fold, values in found["c", "t"].values.items()} == {0: [0.5, 0], 1: [1, 1, 1]}
    assert found["c", "t"].metric == "em"


def test_no_transfer_is_refused(tmp_path):
    with pytest.raises(UserError, match="no finished run of t, c"):
        read_transfers(tmp_path, ["t", "c"])


@pytest.mark.parametrize(
    "entries", [[[0, 1], [0, 1]], [[True, 0]], [[0, 1.0]], [[-1, 0]], [[10**30, 0]], {"0": 1}, [[0]], []]
)
def test_author_lists_with_something_wrong_are_refused_by_name(entries, tmp_path):
    file = tmp_path / "lists.json"
    file.write_text(json.dumps({"tiny/t": entries, "tiny/u": [[0, 0]]}))
    with pytest.raises(UserError, match="tiny/t, "):
        read_author_lists(file, "tiny", 1, ["u"])
