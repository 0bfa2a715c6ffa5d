"""`to=vector` and `to=gguf`: files that are read by what people write themselves, and by llama.cpp."""

import json

import gguf
import pytest
import torch
from exporting import EDITS, direction_edit, export_edit, head_edit, load
from safetensors.torch import load_file
from tiny_checkpoints import build_checkpoint

from lofit_cli.errors import UserError


@pytest.fixture
def base(tmp_path):
    build_checkpoint("llama", tmp_path / "base")
    return tmp_path / "base"


@pytest.mark.parametrize("positions", ["all", "answer"])
def test_each_head_has_its_numbers_by_name_and_the_json_says_where_they_act(base, tmp_path, positions):
    _, written = export_edit(base, lambda lm: head_edit(lm, positions=positions), "vector", tmp_path / "out")
    assert written.proof.largest_difference <= 1e-4 < 0.05 < written.proof.effect
    tensors = load_file(tmp_path / "out/vector.safetensors")
    about = json.loads((tmp_path / "out/vector.json").read_text())
    edit = head_edit(load(base))
    for row, (layer, head) in enumerate(edit.heads):
        assert tensors.pop(f"layer.{layer}.head.{head}.scale").equal(edit.scale[row])
        assert tensors.pop(f"layer.{layer}.head.{head}.offset").equal(edit.offset[row])
        place = about["layers"][str(layer)]
        assert place["module"] == f"model.layers.{layer}.self_attn.o_proj"
        assert head in place["heads"]
        assert (place["num_heads"], place["head_dim"]) == (4, 8)
    assert not tensors
    assert about["positions"] == positions
    assert ("every token" in about["where"]) == (positions == "all")


@pytest.mark.parametrize("positions", ["all", "answer"])
def test_a_vector_after_a_layer_has_the_layers_name(base, tmp_path, positions):
    make = lambda lm: direction_edit(lm, positions=positions)  # noqa: E731
    _, written = export_edit(base, make, "vector", tmp_path / "out")
    assert written.proof.largest_difference <= 1e-4 < 0.05 < written.proof.effect
    (name,), (vector,) = zip(*load_file(tmp_path / "out/vector.safetensors").items(), strict=True)
    assert name == "layer.1.vector"
    assert vector.equal(direction_edit(load(base)).vector)


def test_vectors_at_other_tokens_than_the_json_says_are_found_out(base, tmp_path, monkeypatch):
    monkeypatch.setattr("lofit_cli.exports.load_and_run._add_after", _everywhere)
    with pytest.raises(UserError, match="differs from the edited model"):
        export_edit(base, lambda lm: direction_edit(lm, positions="answer"), "vector", tmp_path / "out")


def _everywhere(vector, acting, everywhere, module, args, output):
    return output + vector


def test_a_control_vector_is_read_back_by_gguf(base, tmp_path):
    plan, written = export_edit(base, EDITS["direction"], "gguf", tmp_path / "out")
    assert plan.words == "a control vector of llama.cpp"
    assert written.proof.largest_difference <= 1e-4
    reader = gguf.GGUFReader(tmp_path / "out/control_vector.gguf")
    assert reader.fields["general.architecture"].contents() == "controlvector"
    assert reader.fields["controlvector.model_hint"].contents() == "llama"
    assert reader.fields["controlvector.layer_count"].contents() == 1
    (tensor,) = reader.tensors
    assert (tensor.name, tensor.tensor_type) == ("direction.1", gguf.GGMLQuantizationType.F32)
    assert torch.tensor(tensor.data.copy()).equal(direction_edit(load(base)).vector)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda lm: direction_edit(lm, layer=0), "after layer 0, which control vectors of llama.cpp can't steer"),
        (lambda lm: direction_edit(lm, positions="answer"), "a control vector acts at every token"),
    ],
)
def test_what_llama_cpp_cant_steer_is_refused(base, tmp_path, make, words):
    with pytest.raises(UserError, match=words):
        export_edit(base, make, "gguf", tmp_path / "out")


@pytest.mark.parametrize(
    ("family", "changes", "model_type"),
    [
        ("llama", {}, "llama"),
        ("mistral", {"sliding_window": None}, "llama"),
        ("qwen2", {}, "llama"),
        ("gpt2", {}, "gpt2"),
    ],
)
def test_offsets_for_llama_cpp_are_weights_of_a_class_whose_bias_it_reads(family, changes, model_type, tmp_path):
    build_checkpoint(family, tmp_path / "base", **changes)
    plan, _ = export_edit(tmp_path / "base", EDITS["offset"], "gguf", tmp_path / "out")
    assert plan.model_type == model_type
    assert json.loads((tmp_path / "out/config.json").read_text())["model_type"] == model_type


@pytest.mark.parametrize("family", ["qwen3", "gemma2", "olmo2", "mistral", "falcon"])
def test_offsets_of_families_whose_bias_llama_cpp_would_lose_are_refused(family, tmp_path):
    build_checkpoint(family, tmp_path / "base")
    with pytest.raises(UserError, match=r"lose the new biases in llama\.cpp, or are not loaded by it"):
        export_edit(tmp_path / "base", EDITS["offset"], "gguf", tmp_path / "out")
