"""Heads are found in any decoder, and models without them are refused."""

import pytest
from tiny_models import FAMILIES, build_model

from lofit_cli.artifacts.geometry import Geometry
from lofit_cli.errors import UserError
from lofit_cli.models.heads import find_geometry

HEAD_DIMS = {"mistral": 12, "qwen3": 12, "gemma2": 12, "gemma3": 12}
PROJECTIONS = {"gpt2": "attn.c_proj", "gpt_neox": "attention.dense", "opt": "self_attn.out_proj"}


@pytest.mark.parametrize("family", FAMILIES)
def test_geometry_and_output_projections(family):
    model = build_model(family)
    geometry, projections = find_geometry(model)
    assert geometry == Geometry(num_layers=3, heads_per_layer=4, head_dim=HEAD_DIMS.get(family, 8))
    paths = {module: path for path, module in model.named_modules()}
    for layer, projection in enumerate(projections):
        assert paths[projection].endswith(f".{layer}.{PROJECTIONS.get(family, 'self_attn.o_proj')}")


def test_looking_for_heads_leaves_no_hooks():
    model = build_model("llama")
    find_geometry(model)
    assert not [module for module in model.modules() if module._forward_pre_hooks]


def test_a_state_space_model_is_refused():
    with pytest.raises(UserError, match="no attention heads"):
        find_geometry(build_model("mamba"))
