"""Where LoFiT's offsets start, and CAA on the items that a tuned model has learnt."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from making import make, make_config, make_task
from refusals import refused
from stage_runs import FAST, manifest, ok
from tiny_models import build_language_model, build_model, build_tokenizer

from lofit_cli.artifacts.run_dir import RunDir, start_run
from lofit_cli.artifacts.seen_items import read_seen
from lofit_cli.errors import UserError
from lofit_cli.evaluation.contrastive import head_step, labelled_activations
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.methods.lofit import make_lofit, start_from, start_offsets
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


def test_heads_that_a_run_has_no_offset_of_are_told(tmp_path, capsys):
    lm = build_language_model("llama")
    source = make("lofit", lm, tmp_path)
    others = [head for head in ((0, 0), (1, 1), (2, 2)) if head not in source.heads]
    init = str(tmp_path / "lofit")
    with pytest.raises(UserError, match="has an offset on none of the 1 selected heads; name a run that shares some"):
        made(lm, tmp_path, others[:1], init=init)
    made(lm, tmp_path, [source.heads[0], others[0]], init=init)
    assert "note: 1 of 2 heads start at random, because" in " ".join(capsys.readouterr().err.split())


def made(lm, tmp_path, heads, **settings):
    config = replace(make_config("lofit", tmp_path), method=LofitConfig("lofit", **settings))
    mask = torch.zeros_like(lm.geometry.every_head())
    for layer, head in heads:
        mask[layer, head] = True
    with start_run(tmp_path / "made", "train_offsets", config) as run:
        return make_lofit(lm, make_task(), config, mask, run)


@pytest.mark.parametrize("name", ["red", "jola"])
def test_a_run_with_scales_is_no_start(name, tmp_path):
    lm = build_language_model("llama")
    make(name, lm, tmp_path)
    with pytest.raises(UserError, match=rf"method.init=.*{name} has scales beside its offsets"):
        started(lm, tmp_path, [(0, 0)], init=str(tmp_path / name))


def test_a_run_is_named_by_the_key_that_it_was_given_for(tmp_path):
    lm = build_language_model("llama")
    with pytest.raises(UserError, match=r"method.init: run directory .*nowhere does not exist"):
        started(lm, tmp_path, [(0, 0)], init=str(tmp_path / "nowhere"))
    make("lofit", lm, tmp_path)
    lm.model.lm_head.weight.data.mul_(1.5)
    for settings in (("random_offset", "method.source"), ("lofit", "method.init")):
        name, key = settings
        with pytest.raises(UserError, match=rf"{key}=.*lofit was trained on model .* has other weights"):
            make(name, lm, tmp_path / "other", **{key.removeprefix("method."): str(tmp_path / "lofit")})


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


DISAGREEMENT = ("train-offsets", "method=caa", "method.layers=[1]", "method.items=disagreement")
BOTH = ("method.before=runs/x", "method.after=runs/x")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            ("eval.split=test",),
            "has split test, not train; evaluate with eval.split=train and the model, task and eval",
        ),
        (("eval.protocol=lm_eval",), "has protocol lm_eval, not iti; evaluate with"),
        (("model.dtype=bfloat16",), "has dtype bfloat16, not float32"),
        (("task=misconceptions", "task.data_dir=null"), "has task misconceptions, not truthfulqa"),
        (("task.num_train=3",), "has other questions; evaluate with"),
        (("model.id=other",), "has other weights; evaluate with"),
    ],
)
def test_caa_takes_no_evaluation_of_anything_else(lofit, settings, said):
    model = build_model("llama")
    model.lm_head.weight.data.mul_(1.5)
    model.save_pretrained("other")
    build_tokenizer().save_pretrained("other")
    ok(lofit("evaluate", "intervention=none", "eval.split=train", *settings, "hydra.run.dir=runs/x"))
    refused(lofit(*DISAGREEMENT, *BOTH), f"method.before=runs/x {said}")


def test_caa_takes_no_items_where_none_is_right(lofit):
    task = ("task=crows_pairs", "task.data_dir=sample")
    ok(lofit("evaluate", *task, "intervention=none", "eval.split=train", "hydra.run.dir=runs/x"))
    said = "'stereotype' of task 'crows_pairs' calls none right or wrong; use method.items=all"
    refused(lofit(*DISAGREEMENT, *BOTH, *task), said)


@pytest.mark.parametrize(
    "settings",
    [
        {"items": "disagreement"},
        {"items": "disagreement", "before": "a"},
        {"before": "a", "after": "b"},
        {"before": "a"},
        {"after": "b"},
    ],
)
def test_runs_go_with_disagreement_and_with_nothing_else(settings):
    with pytest.raises(UserError, match="give both runs with disagreement, and neither without"):
        CaaConfig("caa", **settings)


def test_the_kept_items_alone_make_the_direction(tmp_path, monkeypatch):
    import lofit_cli.methods.caa as module

    lm = build_language_model("llama")
    kept = torch.tensor([True, False, True, False])
    monkeypatch.setattr(module, "learnt_items", lambda settings, *of_run: kept)
    edit = make("caa", lm, tmp_path, layers=[1], items="disagreement", before="a", after="b")
    from lofit_cli.evaluation.contrastive import answer_differences

    run = RunDir(tmp_path / "x", "train_offsets")
    run.path.mkdir()
    expected = answer_differences(lm, make_task(), "train", run)[[0, 2], 1].mean(dim=0)
    torch.testing.assert_close(edit.vector.detach(), expected)
    assert not isinstance(edit, HeadEdit)
