"""What a checkpoint must hold to be loaded, and what is said of one that does not."""

import json
import shutil
from pathlib import Path

import peft
import pytest
import torch
from loading import refused
from safetensors.torch import load_file
from tiny_checkpoints import build_checkpoint
from tiny_models import build_tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from lofit_cli.models.checkpoint import open_checkpoint, read_weights
from lofit_cli.models.load import load_model
from lofit_cli.models.logprobs import answer_logprobs
from lofit_cli.models.memory import out_of_memory_at_load
from lofit_cli.models.packing import TokenSequence
from lofit_cli.schema.sources import ModelConfig


def without_head(tensors):
    return {name: value for name, value in tensors.items() if not name.startswith("lm_head")}


def named(rename):
    return lambda tensors: {rename(name): value for name, value in tensors.items()}


def test_a_base_model_without_its_head_is_refused(make):
    refused(make(without_head), "lacks weights in its files: lm_head.weight")


def test_a_head_that_is_tied_to_the_embeddings_is_not_missed(make):
    assert load_model(ModelConfig(make(without_head, tie_word_embeddings=True))).model.lm_head.weight is not None


def test_a_base_model_saved_without_its_prefix_loads_as_the_whole_one(make, llama):
    named_otherwise = load_model(ModelConfig(make(named(lambda name: name.removeprefix("model.")))))
    wanted = load_file(llama / "model.safetensors")
    assert torch.equal(named_otherwise.model.model.embed_tokens.weight, wanted["model.embed_tokens.weight"])


def test_a_classifier_is_refused_with_what_it_has_instead(make):
    classifier = make(lambda tensors: without_head(tensors) | {"score.weight": torch.zeros(2, 32)})
    refused(classifier, "which have score.weight instead: lm_head.weight")


@pytest.mark.parametrize("prefix", ["base_model.", "base_model.model.", "module.", "_orig_mod."])
def test_renamed_tensors_are_refused(make, prefix):
    refused(make(named(lambda name: prefix + name)), f"which have {prefix}lm_head.weight", "and 36 more")


def test_more_layers_in_the_config_than_in_the_file_are_refused(make):
    refused(make(num_hidden_layers=5), "model.layers.4.input_layernorm.weight", "and 6 more")


def test_fewer_layers_in_the_config_than_in_the_file_are_said(make, capsys):
    load_model(ModelConfig(make(num_hidden_layers=3)))
    assert "unused: model.layers.3.input_layernorm.weight" in capsys.readouterr().err


def test_tensors_for_another_purpose_are_said(make, capsys):
    load_model(ModelConfig(make(lambda tensors: tensors | {"value_head.weight": torch.zeros(1, 32)})))
    assert "unused: value_head.weight" in capsys.readouterr().err


@pytest.mark.parametrize("setting", ["intermediate_size", "vocab_size"])
def test_other_shapes_than_the_config_says_are_refused(make, setting):
    refused(make(**{setting: 64}), "in other shapes than its config.json says", "in the file", "in the model")


def test_a_bias_that_the_config_has_no_place_for_is_refused(make):
    key = "model.layers.0.self_attn.q_proj.bias"
    refused(make(lambda tensors: tensors | {key: torch.ones(32)}), f"leaves no place for: {key}")


@pytest.mark.parametrize("settings", [{}, {"quantization_config": {"quant_method": "unheard_of"}}])
def test_quantised_leftovers_are_refused(make, settings):
    def quantise(tensors):
        return {n: v.to(torch.int8) if "q_proj" in n else v for n, v in tensors.items()}

    refused(make(quantise, **settings), "has whole numbers for weights (model.layers.0.self_attn.q_proj.weight")


@pytest.mark.parametrize(("name", "dtype"), [("model.norm.weight", torch.bool), ("model.layers.0.mlp.up", torch.int8)])
def test_weights_that_are_no_floats_are_refused_whatever_their_name(make, name, dtype):
    def spoil(tensors):
        return {n: v.to(dtype) if n.startswith(name) else v for n, v in tensors.items()}

    refused(make(spoil), "has whole numbers for weights", name)


def test_biases_that_are_whole_numbers_are_refused_in_a_file_of_any_name(make):
    def with_biases(tensors):
        rows = {name: len(tensor) for name, tensor in tensors.items() if "self_attn" in name}
        whole = {n.replace("weight", "bias"): torch.zeros(size, dtype=torch.int8) for n, size in rows.items()}
        return tensors | whole

    folder = Path(make(with_biases, attention_bias=True))
    names = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, "part.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(str(folder), "has whole numbers for weights", "k_proj.bias")


def test_scales_without_a_quantisation_are_refused(make):
    key = "model.layers.0.mlp.up_proj.weight_scale_inv"
    refused(make(lambda tensors: tensors | {key: torch.ones(1, 1)}), f"leaves no place for: {key}")


def test_a_quantisation_whose_library_is_not_there_is_refused_in_a_sentence(make):
    refused(make(quantization_config={"quant_method": "vptq"}), "requires VPTQ", exit_code=1)


def test_a_missing_expert_is_refused(tmp_path, make):
    build_checkpoint("mixtral", tmp_path / "mixtral")
    key = "model.layers.0.block_sparse_moe.experts.1.w1.weight"
    fewer = make(lambda tensors: {n: v for n, v in tensors.items() if n != key}, tmp_path / "mixtral")
    refused(fewer, "weights that belong together", exit_code=1)


@pytest.mark.parametrize("with_the_base", [False, True])
def test_an_adapters_folder_is_refused(llama, tmp_path, with_the_base):
    if with_the_base:
        shutil.copytree(llama, tmp_path, dirs_exist_ok=True)
    model = AutoModelForCausalLM.from_pretrained(llama)
    peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj"])).save_pretrained(tmp_path)
    refused(str(tmp_path), "holds an adapter of the peft library", "merge_and_unload")


@pytest.mark.parametrize("num_bytes", [0, 50, 5000])
def test_truncated_weights_are_refused(make, num_bytes):
    file = Path(make()) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:num_bytes])
    refused(str(file.parent), "could not be loaded (SafetensorError", exit_code=1)


@pytest.mark.parametrize("kind", ["t5", "vit", "clip"])
def test_what_is_no_decoder_of_text_is_refused_by_its_type(tmp_path, kind):
    AutoConfig.for_model(kind).save_pretrained(tmp_path)
    build_tokenizer().save_pretrained(tmp_path)
    refused(str(tmp_path), f"is of type '{kind}', which transformers can't run as a decoder of text")


@pytest.mark.parametrize("kind", ["llava", "qwen2_vl", "idefics3", "mistral3"])
def test_a_vision_language_model_is_scored_as_the_decoder_of_text_that_it_holds(tmp_path, kind):
    build_checkpoint(kind, tmp_path)
    lm = load_model(ModelConfig(str(tmp_path)))
    tokens = [int(token) for token in lm.tokenizer("the answer to the number of the question A: No one")["input_ids"]]
    plain = AutoModelForImageTextToText.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        last = plain(input_ids=torch.tensor([tokens[:-1]])).logits[0, -1].log_softmax(-1)
        scored = answer_logprobs(lm, [TokenSequence(tuple(tokens), len(tokens) - 1)])
    assert float(scored) == pytest.approx(float(last[tokens[-1]]), abs=1e-4)
    assert lm.geometry.num_layers == plain.config.get_text_config().num_hidden_layers


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_without_a_dtype_the_checkpoints_own_is_kept(llama, tmp_path, dtype):
    AutoModelForCausalLM.from_pretrained(llama, dtype=dtype).save_pretrained(tmp_path)
    build_tokenizer().save_pretrained(tmp_path)
    assert load_model(ModelConfig(str(tmp_path))).model.dtype == getattr(torch, dtype)
    assert load_model(ModelConfig(str(tmp_path), dtype="float16")).model.dtype == torch.float16


def test_a_dtype_that_is_not_allowed_is_refused(make):
    refused(make(dtype="float64"), "is in float64; set model.dtype to float32")


def test_the_model_is_read_straight_to_its_device(llama, monkeypatch):
    asked = {}
    real = AutoModelForCausalLM.from_pretrained

    def note(source, **settings):
        asked.update(settings)
        return real(source, **settings | {"device_map": None})

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", note)
    config = ModelConfig(str(llama))
    read_weights(config, config.id, open_checkpoint(config, config.id)[0], torch.device("cuda:0"))
    assert asked["device_map"] == {"": torch.device("cuda:0")}


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_a_model_that_does_not_fit_into_memory_is_refused_with_what_would(llama, monkeypatch, error):
    def run_out(*args, **settings):
        raise error

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", run_out)
    refused(str(llama), "whose weights alone take 0.0 GB in float32 and 0.0 GB in bfloat16", exit_code=1)


def test_the_size_of_weights_is_told_for_each_dtype():
    sentence = str(out_of_memory_at_load(ModelConfig("big/model", dtype="float32", device="cpu"), 7_000_000_000))
    assert "28.0 GB in float32 and 14.0 GB in bfloat16" in sentence
