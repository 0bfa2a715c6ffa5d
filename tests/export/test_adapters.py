"""`to=peft`: what the stock peft library makes of an exported adapter."""

import json

import pytest
import torch
from exporting import EDITS, export_edit, head_edit, load, peft_edit, stock_peft
from tiny_checkpoints import build_checkpoint

from lofit_cli.errors import UserError

TEXT = "Which number follows the answer to the question?"


def _logits(model, lm):
    with torch.no_grad():
        return model(input_ids=lm.tokenizer(TEXT, return_tensors="pt")["input_ids"]).logits


@pytest.mark.parametrize("name", ["offset", "scale", "scale and offset", "direction", "lora"])
@pytest.mark.parametrize("family", ["llama", "gpt2", pytest.param("gemma2", marks=pytest.mark.slow)])
def test_stock_peft_computes_what_the_edited_base_computes(name, family, tmp_path):
    if (name, family) == ("direction", "gemma2"):
        pytest.skip("no map of Gemma 2 takes it")
    build_checkpoint(family, tmp_path / "base")
    _, written = export_edit(tmp_path / "base", EDITS[name], "peft", tmp_path / "out")
    assert written.proof.largest_difference <= 1e-4
    lm = load(tmp_path / "base")
    edit = EDITS[name](lm)
    before = _logits(lm.model, lm)
    with edit.attach(lm):
        wanted = _logits(lm.model, lm)
    found = _logits(stock_peft(tmp_path / "base", tmp_path / "out"), lm)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
    assert (wanted - before).abs().max() > 0.05


def test_an_offset_is_lora_of_rank_1_with_a_bias_for_the_edited_layers_only(tmp_path):
    build_checkpoint("llama", tmp_path / "base")
    export_edit(tmp_path / "base", EDITS["offset"], "peft", tmp_path / "out")
    config = json.loads((tmp_path / "out/adapter_config.json").read_text())
    lm = load(tmp_path / "base")
    layers = {layer for layer, _ in head_edit(lm).heads}
    assert (config["peft_type"], config["r"], config["lora_bias"]) == ("LORA", 1, True)
    assert set(config["target_modules"]) == {f"model.layers.{layer}.self_attn.o_proj" for layer in layers}
    assert config["base_model_name_or_path"] == "base"


def test_the_rank_of_a_scale_is_the_number_of_edited_numbers(tmp_path):
    build_checkpoint("llama", tmp_path / "base")
    export_edit(tmp_path / "base", EDITS["scale"], "peft", tmp_path / "out")
    lm = load(tmp_path / "base")
    heads = [layer for layer, _ in head_edit(lm).heads]
    rank = json.loads((tmp_path / "out/adapter_config.json").read_text())["r"]
    assert rank == lm.geometry.head_dim * max(heads.count(layer) for layer in heads)


@pytest.mark.parametrize(
    ("name", "words"),
    [("full", "an adapter leaves those alone; use to=hf"), ("bitfit", "LoRA changes linear maps only")],
)
def test_what_an_adapter_of_linear_maps_has_no_place_for_is_refused(name, words, tmp_path):
    build_checkpoint("gpt2", tmp_path / "base")
    with pytest.raises(UserError, match=words):
        export_edit(tmp_path / "base", EDITS[name], "peft", tmp_path / "out")


def test_an_adapter_that_the_library_cant_merge_is_refused_as_weights(tmp_path, monkeypatch):
    build_checkpoint("llama", tmp_path / "base")
    edit = peft_edit(load(tmp_path / "base"), "ia3")
    layer = "peft.tuners.ia3.layer.Linear.merge"

    def refuse(self, *args, **kwargs):
        raise NotImplementedError("no way")

    monkeypatch.setattr(layer, refuse)
    with pytest.raises(UserError, match=r"can't merge IA3 into weights \(no way\); use to=peft"):
        export_edit(tmp_path / "base", lambda lm: edit, "hf", tmp_path / "out")
