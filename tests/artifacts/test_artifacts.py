"""Artifacts are written whole or not at all, and say what they are."""

import json

import pytest
import torch

from lofit_cli.artifacts.finished_runs import read_manifest
from lofit_cli.artifacts.geometry import Geometry
from lofit_cli.artifacts.head_mask import HeadMask, parse_num_heads, select_top
from lofit_cli.artifacts.result_manifests import CompareManifest
from lofit_cli.artifacts.run_dir import start_run
from lofit_cli.artifacts.seen_items import add_seen, read_seen
from lofit_cli.errors import RunError, UserError
from lofit_cli.schema.stages import CompareConfig

GEOMETRY = Geometry.uniform(2, 5, 3)


def test_top_heads_are_global_and_ties_go_to_the_first():
    scores = torch.tensor([[0.1, 0.9, 0.5], [0.5, 0.2, 0.8]])
    assert select_top(scores, 3).tolist() == [[False, True, True], [False, False, True]]


@pytest.mark.parametrize(("text", "count"), [("3", 3), ("3%", 1), ("25%", 2), ("100%", 10), ("0.1%", 1)])
def test_number_or_share_of_heads(text, count):
    assert parse_num_heads(text, GEOMETRY) == count


@pytest.mark.parametrize("text", ["0", "11", "0%", "101%", "-1", "nan%", "inf", "1.5", "three", ""])
def test_number_of_heads_out_of_range(text):
    with pytest.raises(UserError, match="give 1 to 10"):
        parse_num_heads(text, GEOMETRY)


def test_head_mask_round_trip(tmp_path):
    scores = torch.rand(2, 5)
    heads = HeadMask("m", GEOMETRY, "scale", scores, select_top(scores, 4))
    heads.save(tmp_path)
    loaded = HeadMask.load(tmp_path / "head_mask.safetensors", "m", GEOMETRY)
    assert loaded.scores.equal(scores)
    assert loaded.mask.equal(heads.mask)
    from_list = HeadMask.load(tmp_path / "head_mask.json", "m", GEOMETRY)
    assert from_list.mask.equal(heads.mask)


def test_a_failed_run_is_marked_and_not_taken(tmp_path):
    def fail():
        with start_run(tmp_path / "x", "compare", CompareConfig()):
            raise RunError("out of luck")

    with pytest.raises(RunError):
        fail()
    assert json.loads((tmp_path / "x" / "manifest.json").read_text())["error"] == "out of luck"
    with pytest.raises(UserError, match="ended as 'failed'"):
        read_manifest(tmp_path / "x", CompareManifest, "runs")


def test_config_hash_ignores_where_runs_go(tmp_path):
    for name, config in (
        ("a", CompareConfig(runs_dir="x")),
        ("b", CompareConfig(runs_dir="y")),
        ("c", CompareConfig(seed=1)),
    ):
        with start_run(tmp_path / name, "compare", config) as run:
            run.record(sections=[], runs=[])
    hashes = [read_manifest(tmp_path / name, CompareManifest, "runs").config_hash for name in "abc"]
    assert hashes[0] == hashes[1] != hashes[2]


def test_what_a_killed_run_has_seen_is_forgotten(tmp_path):
    add_seen(tmp_path, ["fold-0"])
    with start_run(tmp_path, "train_offsets", CompareConfig()) as run:
        add_seen(run.path, ["fold-1"])
    assert read_seen(tmp_path) == {"fold-1"}
