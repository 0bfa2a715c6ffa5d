"""Every family that is listed: what is exported computes what the edited base computes, or there is a refusal."""

import json

import pytest
import transformers
from exporting import EDITS, export_edit
from tiny_checkpoints import build_checkpoint

from lofit_cli.errors import UserError

FULL = {"sliding_window": None}
EVERYDAY = {
    "llama": ("llama", {}, "llama", "in its own class with attention_bias=true"),
    "gpt2": ("gpt2", {}, "gpt2", "in its own class"),
    "mistral of full attention": ("mistral", FULL, "llama", "in Llama's class with attention_bias=true"),
    "mistral with a window": ("mistral", {}, "smollm3", "in SmolLM3's class with attention_bias=true"),
    "qwen2_moe": ("qwen2_moe", {}, "qwen2_moe", "with a KV head for each query head and value biases"),
    "gptj": ("gptj", {}, "gptj", "in a map parallel to the attention"),
}
OTHERS = {
    "ministral": ("ministral", {}, "smollm3", "in SmolLM3's class"),
    "qwen2": ("qwen2", {}, "llama", "in Llama's class"),
    "qwen3": ("qwen3", {}, "qwen3", "in its own class with attention_bias=true"),
    "gemma": ("gemma", {}, "gemma", "in its own class with attention_bias=true"),
    "gemma2": ("gemma2", {}, "gemma2", "in its own class with attention_bias=true"),
    "gemma3": ("gemma3_text", {}, "gemma3_text", "in its own class with attention_bias=true"),
    "phi3 of full attention": ("phi3", FULL, "llama", "in Llama's class with attention_bias=true"),
    "phi3 with a window": ("phi3", {"sliding_window": 16}, "smollm3", "in SmolLM3's class with attention_bias=true"),
    "gpt_neox": ("gpt_neox", {}, "gpt_neox", "in its own class"),
    "opt": ("opt", {}, "opt", "in its own class"),
    "bloom": ("bloom", {}, "bloom", "in its own class"),
    "falcon": ("falcon", {}, "falcon", "in its own class with bias=true"),
    "olmo2": ("olmo2", {}, "olmo2", "in its own class with attention_bias=true"),
    "cohere": ("cohere", {}, "cohere", "in its own class with attention_bias=true"),
    "granite": ("granite", {}, "granite", "in its own class with attention_bias=true"),
    "smollm3": ("smollm3", {}, "smollm3", "in its own class with attention_bias=true"),
    "seed_oss": ("seed_oss", {}, "seed_oss", "in its own class with attention_out_bias=true"),
    "mixtral": ("mixtral", {}, "granitemoe", "in GraniteMoe's class with attention_bias=true"),
    "glm4": ("glm4", {}, "glm4", "with a KV head for each query head and value biases"),
    "starcoder2": ("starcoder2", {}, "starcoder2", "in its own class"),
    "phi": ("phi", {}, "phi", "in its own class"),
    "gemma4": ("gemma4_text", {}, "gemma4_text", "in its own class with attention_bias=true"),
    "glm4_moe": ("glm4_moe", {}, "glm4_moe", "value biases with attention_bias=true"),
    "gemma3 with eyes": ("gemma3", {}, "gemma3", "in its own class with attention_bias=true"),
    "nemotron": ("nemotron", {}, "nemotron", "in its own class with attention_bias=true"),
}
CASES = EVERYDAY | OTHERS
EACH = [pytest.param(name, marks=() if name in EVERYDAY else pytest.mark.slow) for name in CASES]


@pytest.mark.parametrize("case", EACH)
def test_scales_and_offsets_of_heads_are_stock_weights(case, tmp_path):
    family, changes, model_type, words = CASES[case]
    build_checkpoint(family, tmp_path / "base", **changes)
    plan, written = export_edit(tmp_path / "base", EDITS["scale and offset"], "hf", tmp_path / "out")
    assert words in plan.words
    assert json.loads((tmp_path / "out/config.json").read_text())["model_type"] == model_type
    assert written.proof.largest_difference <= 1e-4 < 0.05 < written.proof.effect
    eyes = case.endswith("eyes")
    reader = transformers.AutoModelForImageTextToText if eyes else transformers.AutoModelForCausalLM
    _, report = reader.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report.values())


def test_a_window_is_exceeded_by_the_longest_text_of_the_proof(tmp_path):
    build_checkpoint("mistral", tmp_path / "base")
    _, written = export_edit(tmp_path / "base", EDITS["offset"], "hf", tmp_path / "out")
    (window,) = written.proof.windows_reached
    assert window == 16 < written.proof.longest_text


@pytest.mark.parametrize("family", ["exaone4", "mpt", pytest.param("minimax_m2", marks=pytest.mark.slow)])
def test_a_family_without_a_place_for_the_bias_is_refused_and_scales_are_not(family, tmp_path):
    build_checkpoint(family, tmp_path / "base")
    with pytest.raises(UserError, match=f"computes what a model of type {family} does and has a bias in its o"):
        export_edit(tmp_path / "base", EDITS["offset"], "hf", tmp_path / "no")
    assert not (tmp_path / "no").exists()
    _, written = export_edit(tmp_path / "base", EDITS["scale"], "hf", tmp_path / "out")
    assert written.proof.largest_difference <= 1e-4 < 0.05 < written.proof.effect


@pytest.mark.parametrize(
    ("family", "key"),
    [
        ("llama", "mlp_bias=true"),
        ("granite", "mlp_bias=true"),
        pytest.param("gpt2", "", marks=pytest.mark.slow),
        pytest.param("falcon", "bias=true", marks=pytest.mark.slow),
        pytest.param("qwen2", "attention_bias=true, mlp_bias=true", marks=pytest.mark.slow),
    ],
)
def test_a_vector_after_a_layer_is_the_bias_of_a_map(family, key, tmp_path):
    build_checkpoint(family, tmp_path / "base")
    plan, written = export_edit(tmp_path / "base", EDITS["direction"], "hf", tmp_path / "out")
    assert plan.words.endswith(key)
    assert written.proof.largest_difference <= 1e-4 < 0.05 < written.proof.effect


@pytest.mark.parametrize("family", ["gemma2", pytest.param("qwen2_moe", marks=pytest.mark.slow)])
def test_a_vector_after_a_layer_whose_maps_end_in_a_norm_or_in_experts_is_refused(family, tmp_path):
    build_checkpoint(family, tmp_path / "base")
    with pytest.raises(UserError, match=r"no linear map of this model adds to the residual stream .* use to=gguf"):
        export_edit(tmp_path / "base", EDITS["direction"], "hf", tmp_path / "out")


@pytest.mark.parametrize("name", ["bitfit", "lora", "full"])
@pytest.mark.parametrize("family", ["llama", pytest.param("gpt2", marks=pytest.mark.slow)])
def test_biases_adapters_and_weights_are_stock_weights(name, family, tmp_path):
    build_checkpoint(family, tmp_path / "base")
    _, written = export_edit(tmp_path / "base", EDITS[name], "hf", tmp_path / "out")
    assert written.proof.largest_difference <= 1e-4 < 0.05 < written.proof.effect


def test_biases_that_a_class_has_no_place_for_are_refused(tmp_path):
    build_checkpoint("qwen3", tmp_path / "base")
    with pytest.raises(UserError, match="computes what a model of type qwen3 does and has a bias"):
        export_edit(tmp_path / "base", EDITS["bitfit"], "hf", tmp_path / "out")


LONG = {"rope_type": "yarn", "rope_theta": 2e4, "factor": 4.0, "original_max_position_embeddings": 64}


@pytest.mark.parametrize("family", ["qwen2", pytest.param("llama", marks=pytest.mark.slow)])
def test_a_longer_context_goes_along_for_new_readers_and_for_older_ones(family, tmp_path):
    build_checkpoint(family, tmp_path / "base", rope_parameters=LONG)
    _, written = export_edit(tmp_path / "base", EDITS["offset"], "hf", tmp_path / "out")
    assert written.proof.longest_text > 64
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 2e4
    assert config["rope_scaling"] == config["rope_parameters"]
