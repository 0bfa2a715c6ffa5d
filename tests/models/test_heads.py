"""Heads are found in any decoder where they are, and nowhere else; what keeps them in another way is refused."""

import pytest
import torch
from tiny_checkpoints import build_architecture
from tiny_models import EACH_FAMILY, build_model

from lofit_cli.artifacts.geometry import Geometry
from lofit_cli.errors import UserError
from lofit_cli.models.heads import find_heads

HEAD_DIMS = {"mistral": 12, "qwen3": 12, "gemma2": 12, "gemma3": 12}
PROJECTIONS = {"gpt2": "attn.c_proj", "gpt_neox": "attention.dense", "opt": "self_attn.out_proj"}
HYBRIDS = {
    "jamba": "self_attn.o_proj",
    "bamba": "self_attn.o_proj",
    "granitemoehybrid": "self_attn.o_proj",
    "kimi_linear": "self_attn.o_proj",
    "lfm2_moe": "self_attn.out_proj",
    "minimax": "self_attn.o_proj",
    "nemotron_h": "mixer.o_proj",
    "qwen3_next": "self_attn.o_proj",
    "recurrent_gemma": "temporal_block.o_proj",
    "zamba2": "shared_transformer.self_attn.o_proj",
}
ATTENDING = ("full_attention", "sliding_attention", "hybrid")
PLAIN = {
    "llama": "mlp",
    "gpt_neo": "mlp",
    "qwen3_next": "mlp",
    "lfm2_moe": "feed_forward",
    "jamba": "feed_forward",
    "deepseek_v3": "mlp",
    "mimo_v2_flash": "mlp",
}
"""Families whose layers add to the residual stream what the output projection puts out, and the map that follows."""


@pytest.mark.parametrize("family", EACH_FAMILY)
def test_geometry_and_output_projections(family):
    model = build_model(family)
    geometry, layers, projections = find_heads(model)
    assert geometry == Geometry.uniform(3, 4, HEAD_DIMS.get(family, 8))
    paths = {module: path for path, module in model.named_modules()}
    assert [paths[layer].rpartition(".")[2] for layer in layers] == ["0", "1", "2"]
    assert list(projections) == [0, 1, 2]
    for layer, projection in projections.items():
        assert paths[projection].endswith(f".{layer}.{PROJECTIONS.get(family, 'self_attn.o_proj')}")


@pytest.mark.parametrize("family", HYBRIDS)
def test_hybrids_have_heads_in_the_layers_that_attend_and_in_no_other(family):
    model = build_architecture(family)
    geometry, layers, projections = find_heads(model)
    attending = [layer for layer, kind in enumerate(model.config.layer_types) if kind in ATTENDING]
    assert 0 < len(attending) < len(layers)
    assert list(projections) == attending
    assert [layer for layer, count in enumerate(geometry.heads_per_layer) if count] == attending
    for layer, projection in projections.items():
        paths = {module: path for path, module in layers[layer].named_modules()}
        assert paths[projection] == HYBRIDS[family]


def test_heads_of_two_sizes():
    geometry, _, projections = find_heads(build_architecture("gemma4_text"))
    assert geometry == Geometry((4,) * 4, (16, 16, 24, 24))
    assert [projection.in_features for projection in projections.values()] == [64, 64, 96, 96]


def test_layers_with_different_numbers_of_heads():
    changes = {"num_attention_heads_per_layer": [4, 2, 4, 2], "num_key_value_heads": 2}
    geometry, _, _ = find_heads(build_architecture("laguna", **changes))
    assert geometry == Geometry((4, 2, 4, 2), (16,) * 4)


def test_a_value_may_have_another_size_than_a_key():
    model = build_architecture("deepseek_v2")
    assert model.config.v_head_dim == 12
    assert model.config.qk_nope_head_dim == 8
    assert find_heads(model).geometry == Geometry.uniform(4, 4, 12)


def test_the_vision_tower_is_not_the_decoder():
    model = build_architecture("gemma3")
    assert model.config.vision_config.num_hidden_layers == model.config.text_config.num_hidden_layers
    _, layers, projections = find_heads(model)
    paths = {module: path for path, module in model.named_modules()}
    assert all("language_model.layers" in paths[module] for module in (*layers, *projections.values()))


@pytest.mark.parametrize("family", PLAIN)
def test_what_a_head_gets_more_arrives_in_the_residual_stream_through_its_columns(family):
    model = build_architecture(family)
    geometry, layers, projections = find_heads(model)
    (layer, projection), head, size = next(iter(projections.items())), 1, geometry.head_dims[next(iter(projections))]
    where, vector = slice(head * size, (head + 1) * size), torch.randn(size)
    outputs, after = [], []

    def add(module, args):
        changed = args[0].clone()
        changed[..., where] += vector
        return (changed, *args[1:])

    def replay(module, args, output):
        # What stands behind the attention in this layer stays as it was, so that the rest is the attention's alone.
        after.append(output)
        return after[0]

    follower = getattr(layers[layer], PLAIN[family])
    handles = [
        layers[layer].register_forward_hook(
            lambda m, a, out: outputs.append(out[0] if isinstance(out, tuple) else out)
        ),
        follower.register_forward_hook(replay),
    ]
    tokens = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        model(input_ids=tokens)
        handles.append(projection.register_forward_pre_hook(add))
        model(input_ids=tokens)
    for handle in handles:
        handle.remove()
    expected = projection.weight[:, where] @ vector
    torch.testing.assert_close(outputs[1] - outputs[0], expected.expand_as(outputs[0]), atol=1e-5, rtol=1e-4)


def test_layers_that_share_one_attention_are_refused():
    model = build_architecture("llama")
    model.model.layers[2].self_attn = model.model.layers[1].self_attn
    with pytest.raises(UserError, match="share one attention"):
        find_heads(model)


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("jetmoe", "self_attention.experts"),
        ("deepseek_v4", "self_attn.o_a_proj"),
        ("xlnet", "through no linear map"),
        ("prophetnet", "self_attn.out_proj"),
        ("hrm_text", "no list of 16 layers"),
        ("longcat_flash", "no list of 8 layers"),
        ("xlm", "no attention heads"),
        ("rwkv", "no attention heads"),
    ],
)
def test_heads_that_are_kept_in_another_way_are_refused_by_name(family, reason):
    with pytest.raises(UserError, match=rf"model '{family}' .*{reason}"):
        find_heads(build_architecture(family))


def test_a_map_of_the_right_width_before_the_mixing_is_no_output_projection():
    # Here the keys and values together are as wide as the residual stream.
    model = build_architecture("jetmoe", num_key_value_heads=2, kv_channels=8)
    assert model.model.layers[0].self_attention.kv_proj.out_features == model.config.hidden_size
    with pytest.raises(UserError, match="not through one output projection"):
        find_heads(model)


def test_looking_for_heads_leaves_no_hooks():
    model = build_model("llama")
    find_heads(model)
    assert not [module for module in model.modules() if module._forward_pre_hooks or module._forward_hooks]


def test_a_state_space_model_is_refused():
    with pytest.raises(UserError, match="no attention heads"):
        find_heads(build_model("mamba"))
