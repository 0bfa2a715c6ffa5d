"""Masks, lists of heads and interventions are checked when they are read: what is damaged is refused in a sentence."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import build_language_model

from lofit_cli.artifacts.geometry import Geometry
from lofit_cli.artifacts.head_mask import HeadMask
from lofit_cli.artifacts.tensors import METADATA, read_all_tensors, write_tensors
from lofit_cli.errors import UserError
from lofit_cli.interventions.bias_edit import BiasEdit
from lofit_cli.interventions.contrast_edit import ContrastEdit
from lofit_cli.interventions.demonstrations import Demonstrations
from lofit_cli.interventions.files import FILE_NAME, load_intervention_file, save_intervention
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.interventions.residual_edit import DirectionEdit, LowRankEdit
from lofit_cli.interventions.weights_edit import WeightsEdit

GEOMETRY = Geometry((2, 0, 3), (4, 0, 4))
LISTS = (
    "[[0, 2]]",
    "[[1, 0]]",
    "[[3, 0]]",
    "[[0, 0], [0, 0]]",
    "[[0.0, 0]]",
    "[[true, 0]]",
    '[["0", "0"]]',
    '["ab"]',
    "[[0, 0, 1, 2]]",
    "[[0, 0, 1e39]]",
    '[[0, 0, "1"]]',
    "[[0, 0, null]]",
    "[[0, 0, [1]]]",
    "[[0]]",
    '{"0": 0}',
    "3",
    "null",
    f"[[{10**30}, 0]]",
)


@pytest.mark.parametrize("content", LISTS)
def test_a_list_that_is_none_of_heads_of_this_model(tmp_path, content):
    file = tmp_path / "heads.json"
    file.write_text(content)
    with pytest.raises(UserError, match=r"head mask .*heads\.json (is not a JSON list|lists)"):
        HeadMask.load(file, "m", GEOMETRY)


def test_a_list_of_heads_is_taken_as_it_is(tmp_path):
    (tmp_path / "heads.json").write_text("[[2, 1, -0.5], [0, 0, 2]]")
    assert HeadMask.load(tmp_path / "heads.json", "m", GEOMETRY).ranked_heads() == [(0, 0, 2.0), (2, 1, -0.5)]


def whole_mask():
    scores = torch.rand(3, 3).where(GEOMETRY.every_head(), -torch.inf)
    mask = torch.zeros(3, 3, dtype=torch.bool)
    mask[2, 1] = mask[0, 0] = True
    return {"head_scores": scores, "head_mask": mask}


def set_at(name, *place, value):
    def change(tensors):
        tensors[name][place] = value

    return change


def put(name, make):
    def change(tensors):
        tensors[name] = make(tensors[name])

    return change


DAMAGE = {
    "a mask of one layer": put("head_mask", lambda mask: mask[:1]),
    "scores of one layer": put("head_scores", lambda scores: scores[:1]),
    "one dimension too many": put("head_mask", lambda mask: mask[None]),
    "no dimension": put("head_scores", lambda scores: torch.tensor(1.0)),
    "a mask of numbers": put("head_mask", lambda mask: mask.float()),
    "whole numbers as scores": put("head_scores", lambda scores: scores.nan_to_num(0).long()),
    "half precision": put("head_scores", lambda scores: scores.half()),
    "no head": put("head_mask", torch.zeros_like),
    "a head of a layer without any": set_at("head_mask", 1, 0, value=True),
    "a head that is not there": set_at("head_mask", 0, 2, value=True),
    "nan": set_at("head_scores", 2, 2, value=float("nan")),
    "a selected head without a score": set_at("head_scores", 2, 1, value=-torch.inf),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_mask(tmp_path, damage):
    file, tensors = tmp_path / "head_mask.safetensors", whole_mask()
    about = {"model_id": "m", "selector": "scale", **GEOMETRY.metadata()}
    write_tensors(file, "head_mask", tensors, about)
    assert HeadMask.load(file, "m", GEOMETRY).mask.equal(tensors["head_mask"])
    DAMAGE[damage](tensors)
    write_tensors(file, "head_mask", tensors, about)
    with pytest.raises(UserError, match=r"head_mask\.safetensors is damaged: .*; make it again"):
        HeadMask.load(file, "m", GEOMETRY)


@pytest.mark.parametrize("value", [None, 3, [], {}, "x", float("nan")])
def test_any_value_in_the_metadata_of_a_mask(tmp_path, value):
    file = tmp_path / "head_mask.safetensors"
    about = {"kind": "head_mask", "model_id": "m", "selector": "scale", **GEOMETRY.metadata()}
    for name in about:
        write_tensors(
            file, about["kind"], whole_mask(), {k: v for k, v in about.items() if k != "kind"} | {name: value}
        )
        if value == "x" and name in ("model_id", "selector"):
            assert getattr(HeadMask.load(file, "m", GEOMETRY), name) == "x"
        else:
            with pytest.raises(UserError):
                HeadMask.load(file, "m", GEOMETRY)


@pytest.mark.parametrize("metadata", ["[]", "3", "null", "{", "[" * 100_000, '"kind"'])
def test_metadata_that_is_no_object(tmp_path, metadata):
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors", {METADATA: metadata})
    with pytest.raises(UserError, match=r"x\.safetensors (is not a head_mask file|could not be read)"):
        read_all_tensors(tmp_path / "x.safetensors", "head_mask")


@pytest.fixture(scope="module")
def lm():
    return build_language_model("llama")


def whole_edits(lm):
    mask = torch.zeros(3, 4, dtype=torch.bool)
    mask[0, 1] = mask[2, 3] = True
    return {
        "head": HeadEdit(lm.geometry, mask, offset=torch.rand(2, 8)),
        "bias": BiasEdit.zero(lm),
        "direction": DirectionEdit(torch.rand(32), 1, "all"),
        "low rank": LowRankEdit(3, 32, rank=2, num_first=1, num_last=1),
        "weights": WeightsEdit.copy_of(lm),
        "contrast": ContrastEdit("Be good.", "Be bad.", 2.0, 1),
        "demonstrations": Demonstrations("Q: a\n"),
    }


KINDS = ("head", "bias", "direction", "low rank", "weights", "contrast", "demonstrations")
CHANGES = {
    "cut": lambda tensor: tensor[:-1].clone() if tensor.ndim else torch.zeros(3),
    "flat": lambda tensor: tensor.flatten(),
    "one dimension more": lambda tensor: tensor[..., None].clone(),
    "half": lambda tensor: tensor.half(),
    "double": lambda tensor: tensor.double(),
    "whole numbers": lambda tensor: tensor.long(),
    "nan": lambda tensor: torch.full_like(tensor.float(), float("nan")),
    "infinite": lambda tensor: torch.full_like(tensor.float(), torch.inf),
    "no number": lambda tensor: torch.zeros(()),
    "true or false": lambda tensor: ~tensor.bool(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_tensor_of_each_intervention_is_as_it_should_be_or_refused(tmp_path, lm, kind):
    save_intervention(whole_edits(lm)[kind], tmp_path, lm)
    file = tmp_path / FILE_NAME
    load_intervention_file(tmp_path, lm)
    tensors, (_, about) = load_file(file), read_all_tensors(file, "intervention")
    metadata = {METADATA: json.dumps({"kind": "intervention", **about})}
    for name in list(tensors)[:3]:
        others = {key: value for key, value in tensors.items() if key != name}
        damaged = [{**others, name: change(tensors[name])} for change in CHANGES.values()]
        for content in (others, {**tensors, "unknown": torch.zeros(2)}, *damaged):
            if (
                all(name in tensors and value.equal(tensors[name]) for name, value in content.items())
                and others != content
            ):
                continue
            save_file(content, file, metadata)
            with pytest.raises(UserError, match=r"intervention .*safetensors"):
                load_intervention_file(tmp_path, lm)


def load_or_refuse(folder, lm):
    """Return what is loaded, or the sentence that it ends in."""
    try:
        return load_intervention_file(folder, lm)
    except UserError as error:
        return str(error)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [None, True, -1, 99, 1.5, "x", [], {}, [1], {"a": 1}])
def test_each_setting_of_each_intervention_is_as_it_should_be_or_refused(tmp_path, lm, kind, value):
    edit = whole_edits(lm)[kind]
    for name in (*edit.settings(), "unknown"):
        edit.settings = lambda name=name: {**whole_edits(lm)[kind].settings(), name: value}
        save_intervention(edit, tmp_path, lm)
        found = load_or_refuse(tmp_path, lm)
        if isinstance(found, str):
            assert "can't be used" in found
        else:
            assert found.settings()[name] == value
            assert type(value) in (str, int, float)


@pytest.mark.parametrize("value", [None, 3, "x", [], "[]", "3", "{"])
def test_any_value_in_the_metadata_of_an_intervention(tmp_path, lm, value):
    save_intervention(whole_edits(lm)["head"], tmp_path, lm)
    tensors, (_, about) = load_file(tmp_path / FILE_NAME), read_all_tensors(tmp_path / FILE_NAME, "intervention")
    for name in ("kind", "class", "settings", *lm.geometry.metadata()):
        content = {"kind": "intervention", **about, name: value}
        save_file(tensors, tmp_path / FILE_NAME, {METADATA: json.dumps(content)})
        with pytest.raises(UserError):
            load_intervention_file(tmp_path, lm)
