"""Files of interventions and head masks with anything wrong in them are refused in a sentence, or are what they say."""

import json

import pytest
import torch
from mutations import mutations, read, write
from tiny_models import build_language_model

from lofit_cli.artifacts.geometry import Geometry
from lofit_cli.artifacts.head_mask import HeadMask, select_top
from lofit_cli.errors import UserError
from lofit_cli.interventions import INTERVENTIONS
from lofit_cli.interventions.bias_edit import BiasEdit
from lofit_cli.interventions.contrast_edit import ContrastEdit
from lofit_cli.interventions.demonstrations import Demonstrations
from lofit_cli.interventions.files import load_intervention_file
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.interventions.layer_contrast import LayerContrast
from lofit_cli.interventions.peft_edit import PeftEdit
from lofit_cli.interventions.prefix_edit import PrefixEdit
from lofit_cli.interventions.projection_edit import ProjectionEdit
from lofit_cli.interventions.proxy_edit import ProxyEdit
from lofit_cli.interventions.residual_edit import DirectionEdit, DirectionsEdit, LowRankEdit
from lofit_cli.interventions.sink_edit import SinkEdit
from lofit_cli.interventions.soft_prompt import SoftPrompt
from lofit_cli.interventions.weights_edit import WeightsEdit
from lofit_cli.prompts import ask
from lofit_cli.schema.sources import ModelConfig

FIRST = {"num_layers": "3", "num_heads": "4", "head_dim": "8"}


@pytest.fixture(scope="module")
def lm():
    return build_language_model("llama")


def _axes(count):
    return torch.linalg.qr(torch.randn(32, count)).Q


def head_mask(lm):
    return select_top(torch.arange(12.0).view(3, 4), 2)


MADE = {
    "bias_edit": lambda lm: BiasEdit.zero(lm),
    "contrast_edit": lambda lm: ContrastEdit("Be honest.", "Lie.", 1.5, 1),
    "demonstrations": lambda lm: Demonstrations(ask("Q: 1? A:").answered(" 2")),
    "direction_edit": lambda lm: DirectionEdit(torch.randn(32), 2, "answer"),
    "directions_edit": lambda lm: DirectionsEdit(torch.randn(2, 32), [0, 2]),
    "head_edit": lambda lm: HeadEdit(lm.geometry, head_mask(lm), torch.randn(2, 8), torch.randn(2, 8)),
    "layer_contrast": lambda lm: LayerContrast([0, 1], "authors", 0.1),
    "low_rank_edit": lambda lm: LowRankEdit(3, 32, 2, 1, 1),
    "peft_edit": lambda lm: PeftEdit.initial(
        lm, {"peft_type": "IA3", "target_modules": ["o_proj"], "feedforward_modules": []}
    ),
    "prefix_edit": lambda lm: PrefixEdit(*([torch.randn(2, 16) for _ in range(3)] for _ in range(2))),
    "projection_edit": lambda lm: ProjectionEdit([0, 2], 2 * [_axes(3)], 2 * [_axes(2)]),
    "proxy_edit": lambda lm: ProxyEdit(DirectionEdit(torch.randn(32), 1, "all"), None, ModelConfig(lm.id), 0.5),
    "sink_edit": lambda lm: SinkEdit(lm.geometry, head_mask(lm), torch.randn(2)),
    "soft_prompt": lambda lm: SoftPrompt(torch.randn(3, 32), torch.randn(4, 2), torch.randn(2, 32)),
    "weights_edit": lambda lm: WeightsEdit.copy_of(lm),
}


def test_every_kind_of_intervention_is_tried():
    assert MADE.keys() == INTERVENTIONS.keys()


def attempt(load):
    """Return what is loaded, or the sentence that refuses it."""
    try:
        return load()
    except UserError as error:
        return str(error)


def is_a_sentence(text):
    return "\n" not in text and len(text) < 600


@pytest.mark.parametrize("kind", MADE)
def test_an_intervention_with_something_wrong_is_refused_or_is_what_its_file_says(kind, lm, tmp_path):
    MADE[kind](lm).save(tmp_path, lm)
    file = tmp_path / "intervention.safetensors"
    tensors, about = read(file)
    num_refused = 0
    for what, changed, said in mutations(tensors, about):
        write(file, changed, said)
        edit = attempt(lambda: load_intervention_file(tmp_path, lm))
        if isinstance(edit, str):
            num_refused += 1
            assert is_a_sentence(edit), what
            continue
        assert (edit.kind, edit.settings()) == (said["class"], said["settings"]), what
        assert edit.tensors().keys() == changed.keys(), what
        for name, tensor in edit.tensors().items():
            assert torch.equal(tensor, changed[name].to(tensor.dtype)), what
            assert tensor.isfinite().all(), what
    assert num_refused > 60


def test_a_head_mask_with_something_wrong_is_refused_or_is_what_its_file_says(lm, tmp_path):
    scores = torch.arange(12.0).view(3, 4)
    HeadMask("m", lm.geometry, "scale", scores, head_mask(lm)).save(tmp_path)
    file = tmp_path / "head_mask.safetensors"
    for what, changed, said in mutations(*read(file)):
        write(file, changed, said)
        heads = attempt(lambda: HeadMask.load(file, "m", lm.geometry))
        if isinstance(heads, str):
            assert is_a_sentence(heads), what
        else:
            assert (heads.model_id, heads.selector) == (said["model_id"], said["selector"]), what
            assert heads.mask.dtype == changed["head_mask"].dtype, what
            assert torch.equal(heads.mask, changed["head_mask"]), what
            assert torch.equal(heads.scores, changed["head_scores"].float()), what
            assert heads.scores[heads.mask].isfinite().all(), what


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ("[[0, 1], [0, 1]]", r"lists \[0, 1\] twice"),
        ("[[true, 1]]", "each entry must be"),
        ("[[0, 1.0]]", "each entry must be"),
        ("[[0, 1, true]]", "each entry must be"),
        ('[[0, 1, "2"]]', "each entry must be"),
        ("[[0, 1, NaN]]", "each entry must be"),
        ("[[0, 1, 1e39]]", "each entry must be"),
        ("[[0, 1, 2.0], [1, 1]]", "each entry must be"),
        ("[[0, 1, 2, 3]]", "each entry must be"),
        ("[[0]]", "each entry must be"),
        ("[[-1, 0]]", "each entry must be"),
        (f"[[{10**30}, 0]]", "each entry must be"),
        (f"[[0, 0, {10**400}]]", "each entry must be"),
        ("[[0, 4]]", r"lists \[0, 4\], and this model has 3 layers of 4 heads of 8"),
        ("[[3, 0]]", r"lists \[3, 0\]"),
        ('{"0": 1}', "not a JSON list"),
        ("[]", "not a JSON list"),
        ("5", "not a JSON list"),
        ('["ab"]', "each entry must be"),
    ],
)
def test_a_list_of_heads_with_something_wrong_is_refused(entries, reason, lm, tmp_path):
    file = tmp_path / "heads.json"
    file.write_text(entries)
    with pytest.raises(UserError, match=reason):
        HeadMask.load(file, "m", lm.geometry)


def test_a_head_where_a_layer_has_none_is_refused(tmp_path):
    geometry = Geometry((0, 2), (0, 8))
    file = tmp_path / "heads.json"
    file.write_text("[[0, 0]]")
    with pytest.raises(UserError, match="1 layer of 2 heads of 8, 1 layer without heads"):
        HeadMask.load(file, "m", geometry)
    scores = torch.tensor([[0.7, -torch.inf], [0.5, 0.1]])
    HeadMask("m", geometry, "scale", scores, torch.tensor([[True, False], [True, False]])).save(tmp_path)
    with pytest.raises(UserError, match="that the model does not have"):
        HeadMask.load(tmp_path / "head_mask.safetensors", "m", geometry)


def test_files_of_the_first_form_are_read(lm, tmp_path):
    edit = MADE["head_edit"](lm)
    edit.save(tmp_path, lm)
    file = tmp_path / "intervention.safetensors"
    tensors, about = read(file)
    assert json.loads(json.dumps(about["geometry"])) == {"format": 2, "heads_per_layer": [4] * 3, "head_dims": [8] * 3}
    del about["geometry"]
    write(file, tensors, about | FIRST)
    assert torch.equal(load_intervention_file(tmp_path, lm).offset, edit.offset)
    for damaged in ({**FIRST, "num_heads": "x"}, {**FIRST, "head_dim": "9" * 5000}, {**FIRST, "num_layers": "-3"}):
        write(file, tensors, about | damaged)
        with pytest.raises(UserError, match="does not state the geometry"):
            load_intervention_file(tmp_path, lm)


def test_a_later_form_says_so(lm, tmp_path):
    MADE["demonstrations"](lm).save(tmp_path, lm)
    file = tmp_path / "intervention.safetensors"
    tensors, about = read(file)
    write(file, tensors, {**about, "geometry": {"format": 3, "heads": []}})
    with pytest.raises(UserError, match="update lofit"):
        load_intervention_file(tmp_path, lm)


def test_an_edit_of_no_head_is_refused(lm):
    tensors = {"head_mask": torch.zeros(3, 4, dtype=torch.bool), "offset": torch.zeros(0, 8)}
    with pytest.raises(UserError, match="selects no head"):
        HeadEdit.restore(lm, {"positions": "all"}, tensors)
