"""Heads are found in any decoder, and models without them are refused."""

import pytest
from tiny_models import FAMILIES, build_model

from lofit_cli.artifacts.geometry import Geometry
from lofit_cli.errors import UserError
from lofit_cli.models.heads import find_heads

HEAD_DIMS = {"mistral": 12, "qwen3": 12, "gemma2": 12, "gemma3": 12}
PROJECTIONS = {"gpt2": "attn.c_proj", "gpt_neox": "attention.dense", "opt": "self_attn.out_proj"}


@pytest.mark.parametrize("family", FAMILIES)
def test_geometry_and_output_projections(family):
    model = build_model(family)
    geometry, layers, projections = find_heads(model)
    assert geometry == Geometry.uniform(3, 4, HEAD_DIMS.get(family, 8))
    paths = {module: path for path, module in model.named_modules()}
    assert [paths[layer].rpartition(".")[2] for layer in layers] == ["0", "1", "2"]
    for layer, projection in projections.items():
        assert paths[projection].endswith(f".{layer}.{PROJECTIONS.get(family, 'self_attn.o_proj')}")


def test_looking_for_heads_leaves_no_hooks():
    model = build_model("llama")
    find_heads(model)
    assert not [module for module in model.modules() if module._forward_pre_hooks]


def test_a_state_space_model_is_refused():
    with pytest.raises(UserError, match="no attention heads"):
        find_heads(build_model("mamba"))
