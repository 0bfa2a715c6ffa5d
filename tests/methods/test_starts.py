"""Where LoFiT's offsets start, and CAA on the items that a tuned model has learnt."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from making import make, make_config, make_task
from stage_runs import FAST, manifest, ok
from tiny_models import build_language_model

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.artifacts.seen_items import read_seen
from lofit_cli.errors import UserError
from lofit_cli.evaluation.contrastive import head_step, labelled_activations
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.methods.lofit import start_from, start_offsets
from lofit_cli.schema.fitted_methods import CaaConfig
from lofit_cli.schema.trained_methods import LofitConfig


def started(lm, tmp_path, heads, **settings):
    config = replace(make_config("lofit", tmp_path), method=LofitConfig("lofit", **settings))
    mask = torch.zeros_like(lm.geometry.every_head())
    for layer, head in heads:
        mask[layer, head] = True
    edit = start_offsets(lm, mask, config)
    run = RunDir(tmp_path / "run", "train_offsets")
    run.path.mkdir(exist_ok=True)
    start_from(edit, lm, make_task(), config, run)
    return edit, run


def test_before_its_first_step_it_is_iti(tmp_path):
    lm = build_language_model("llama")
    edit, run = started(lm, tmp_path, [(0, 1), (2, 3)], init="iti", alpha=4.0)
    activations, is_right = labelled_activations(lm, make_task(), "train", run)
    expected = [4 * head_step(activations[:, layer, head], is_right, "mass_mean") for layer, head in edit.heads]
    torch.testing.assert_close(edit.offset.detach(), torch.stack(expected))
    assert read_seen(run.path) == make_task().fingerprints("train")


def test_another_runs_offsets_are_taken_head_by_head(tmp_path):
    lm = build_language_model("llama")
    source = make("lofit", lm, tmp_path)
    known = source.heads[0]
    other = next(head for head in ((0, 0), (1, 1), (2, 2)) if head not in source.heads)
    edit, run = started(lm, tmp_path, sorted([known, other]), init=str(tmp_path / "lofit"))
    values = dict(zip(edit.heads, edit.offset.detach(), strict=True))
    assert values[known].equal(source.offset.detach()[0])
    assert values[other].abs().max() < 0.01
    assert read_seen(run.path) == read_seen(tmp_path / "lofit")


def test_a_run_without_offsets_is_no_start(tmp_path):
    lm = build_language_model("llama")
    make("caa", lm, tmp_path)
    with pytest.raises(UserError, match=r"method.init=.*caa has no offsets to start from"):
        started(lm, tmp_path, [(0, 0)], init=str(tmp_path / "caa"))


def test_the_default_start_is_told_to_no_one(lofit):
    Path("heads.json").write_text("[[0, 1], [2, 3]]")
    ok(lofit("train-offsets", "head_mask=heads.json", *FAST, "hydra.run.dir=runs/plain"))
    assert not {"method.init", "method.alpha"} & manifest("runs/plain")["made_by"].keys()
    ok(lofit("train-offsets", "head_mask=heads.json", "method.init=iti", *FAST, "hydra.run.dir=runs/iti"))
    assert manifest("runs/iti")["made_by"]["start.init"] == "iti"


def test_caa_takes_the_items_that_a_tuned_run_has_learnt(lofit, monkeypatch):
    import lofit_cli.methods.disagreement as module

    monkeypatch.setattr(module, "MIN_ITEMS", 1)
    Path("heads.json").write_text("[[0, 1], [2, 3]]")
    ok(lofit("train-offsets", "head_mask=heads.json", *FAST, "trainer.learning_rate=3", "hydra.run.dir=runs/tuned"))
    train = ("eval.split=train",)
    ok(lofit("evaluate", "intervention=none", *train, "hydra.run.dir=runs/before"))
    ok(lofit("evaluate", "intervention=runs/tuned", *train, "hydra.run.dir=runs/after"))
    grid = ("method=caa", "method.alphas=[1]", "method.layers=[1]", "method.items=disagreement")
    found = lofit(
        "train-offsets", *grid, "method.before=runs/before", "method.after=runs/after", "hydra.run.dir=runs/caa"
    )
    refused = "finds 0 items" in found.stderr
    assert (found.exit_code, refused) in ((0, False), (2, True))
    again = lofit("train-offsets", *grid, "method.before=runs/after", "method.after=runs/after", "hydra.run.dir=runs/x")
    assert again.exit_code == 2
    assert "finds 0 items that method.after=runs/after gets right" in again.stderr
    ok(lofit("evaluate", "intervention=none", "hydra.run.dir=runs/test"))
    other = lofit("train-offsets", *grid, "method.before=runs/test", "method.after=runs/after", "hydra.run.dir=runs/y")
    assert other.exit_code == 2
    assert "method.before=runs/test has not measured the training items" in other.stderr


@pytest.mark.parametrize("settings", [{"items": "disagreement"}, {"before": "a", "after": "b"}])
def test_runs_go_with_disagreement_and_with_nothing_else(settings):
    with pytest.raises(UserError, match="give both runs with disagreement, and neither without"):
        CaaConfig("caa", **settings)


def test_the_kept_items_alone_make_the_direction(tmp_path, monkeypatch):
    import lofit_cli.methods.caa as module

    lm = build_language_model("llama")
    kept = torch.tensor([True, False, True, False])
    monkeypatch.setattr(module, "learnt_items", lambda settings, task: kept)
    edit = make("caa", lm, tmp_path, layers=[1], items="disagreement", before="a", after="b")
    from lofit_cli.evaluation.contrastive import answer_differences

    run = RunDir(tmp_path / "x", "train_offsets")
    run.path.mkdir()
    expected = answer_differences(lm, make_task(), "train", run)[[0, 2], 1].mean(dim=0)
    torch.testing.assert_close(edit.vector.detach(), expected)
    assert not isinstance(edit, HeadEdit)
