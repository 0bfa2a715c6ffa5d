"""A model whose layers are on several devices, or out of memory, computes what it computes on one."""

import json
from pathlib import Path

import pytest
import torch
import transformers.integrations.accelerate as placing
from making import make
from stage_runs import FAST
from tiny_checkpoints import build_checkpoint
from tiny_models import build_language_model, edit_all_heads, random_values

from lofit_cli.errors import UserError
from lofit_cli.interventions.bias_edit import BiasEdit
from lofit_cli.interventions.files import load_intervention_file
from lofit_cli.interventions.residual_edit import DirectionEdit, LowRankEdit
from lofit_cli.models.load import load_model
from lofit_cli.models.logprobs import score_answers
from lofit_cli.models.weights import describe_model
from lofit_cli.schema.sources import ModelConfig

ITEMS = [("Q: which number? A:", [" the number 7", " No"]), ("Q: another? A:", [" answer", " the"])]
FAMILIES = ("llama", "gpt2", "mixtral")


@pytest.fixture
def split(tmp_path, monkeypatch):
    """Return a function that loads a tiny checkpoint whole, and with a part of it left on the disk."""

    def load(family, share=0.6, dtype="float32", **changes):
        build_checkpoint(family, tmp_path / family, **changes)
        whole = load_model(ModelConfig(str(tmp_path / family), dtype=dtype))
        size = sum(weight.numel() * weight.element_size() for weight in whole.model.parameters())
        monkeypatch.setattr(placing, "accelerate_max_memory", lambda told=None: told or {"cpu": share * size})
        parts = load_model(ModelConfig(str(tmp_path / family), dtype=dtype, device_map="auto"))
        assert any(weight.is_meta for weight in parts.model.parameters()) == (share < 1)
        return whole, parts

    return load


def flat(scores):
    return [found for item in scores for found in item]


@pytest.mark.parametrize("share", [0.2, 0.6, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_log_probs_texts_and_the_hash_are_those_of_the_whole_model(split, family, share):
    whole, parts = split(family, share)
    assert flat(score_answers(parts, ITEMS)) == pytest.approx(flat(score_answers(whole, ITEMS)), abs=1e-5)
    assert parts.generate([prompt for prompt, _ in ITEMS]) == whole.generate([prompt for prompt, _ in ITEMS])
    expected = describe_model(whole)
    found = describe_model(parts)
    assert {key for key in expected if found[key] != expected[key]} <= {"device"}
    assert found["device"] == {0.2: "offloaded", 0.6: "cpu, offloaded", 2: "cpu"}[share]


def test_the_check_of_batching_leaves_half_precision_weights_as_they_were(split):
    whole, parts = split("llama", dtype="bfloat16", tie_word_embeddings=True)
    assert {weight.dtype for weight in parts.model.parameters()} == {torch.bfloat16}
    assert describe_model(parts)["model_hash"] == describe_model(whole)["model_hash"]
    assert flat(score_answers(parts, ITEMS)) == pytest.approx(flat(score_answers(whole, ITEMS)), abs=1e-5)


@pytest.mark.parametrize("method", ["bitfit", "caa", "icl", "iti", "lofit", "loreft", "red", "repe"])
def test_each_method_makes_the_same_edit_on_a_split_model(split, method, tmp_path):
    whole, parts = split("llama", max_position_embeddings=2048)
    edits, steps = [], []
    for name, lm in (("whole", whole), ("parts", parts)):
        edits.append(make(method, lm, tmp_path / name))
        history = tmp_path / name / method / "history.jsonl"
        steps += history.read_text().splitlines()[:1] if history.exists() else []
    for first, second in zip(*(edit.tensors().values() for edit in edits), strict=True):
        assert torch.allclose(first.float(), second.float(), atol=1e-5)
    if steps:
        wanted, found = map(json.loads, steps)
        assert found["gradient_norm"] == pytest.approx(wanted["gradient_norm"], rel=1e-5)
    again = load_intervention_file(tmp_path / "whole" / method, parts)
    with edits[0].attach(whole):
        wanted = flat(score_answers(whole, ITEMS))
    with again.attach(parts):
        assert flat(score_answers(parts, ITEMS)) == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("method", ["full", "lora", "peft"])
def test_what_changes_weights_is_refused_where_some_are_out_of_memory(split, method, tmp_path):
    _, parts = split("llama", max_position_embeddings=2048)
    with pytest.raises(UserError, match=r"needs all weights of model .* in memory.*such as lofit"):
        make(method, parts, tmp_path)


def test_saved_weights_are_refused_where_some_are_out_of_memory(split, tmp_path):
    whole, parts = split("llama", max_position_embeddings=2048)
    make("full", whole, tmp_path)
    with pytest.raises(UserError, match="full fine-tuning needs all weights of model"):
        load_intervention_file(tmp_path / "full", parts)


def edits_of(lm):
    values = random_values(lm.geometry, 1)
    return {
        "heads": edit_all_heads(values, values, positions="answer"),
        "biases": BiasEdit.zero(lm),
        "direction": DirectionEdit(torch.ones(lm.hidden_size), 1, "answer"),
        "low_rank": LowRankEdit(lm.geometry.num_layers, lm.hidden_size, 2, 1, 1),
    }


@pytest.mark.parametrize("name", ["heads", "biases", "direction", "low_rank"])
def test_an_edit_takes_its_numbers_to_the_device_of_what_it_acts_on(name):
    # torch's meta device stands in for another one: it has no numbers, and refuses to be mixed with the CPU.
    lm = build_language_model("llama")
    edit = edits_of(lm)[name]
    tokens = torch.arange(6)[None]
    with edit.attach(lm), lm.token_positions(tokens, 3 - tokens):
        lm.model.to("meta")
        assert lm.model(input_ids=tokens.to("meta")).logits.shape == (1, 6, 300)


def test_one_device_and_several_are_not_asked_for_together():
    with pytest.raises(UserError, match=r"model\.device=cpu puts the whole model on one device"):
        ModelConfig("m", device="cpu", device_map="auto")
    with pytest.raises(UserError, match=r"model\.device_map=autp is not known; did you mean 'auto'"):
        ModelConfig("m", device_map="autp")
    assert ModelConfig("m", device="cpu", device_map="none").device_map is None


def test_all_stages_run_on_a_split_model(lofit, model_dir, monkeypatch):
    size = (Path(model_dir) / "model.safetensors").stat().st_size
    monkeypatch.setattr(placing, "accelerate_max_memory", lambda told=None: told or {"cpu": 0.6 * size})
    said = []
    for stage, *settings in (["select-heads", "num_heads=3", *FAST], ["train-offsets", *FAST], ["evaluate"]):
        result = lofit(stage, "model.device_map=auto", *settings)
        assert result.exit_code == 0, result.stderr
        said.append(" ".join(result.stderr.split()))
    assert "has weights out of memory (cpu, offloaded)" in said[0]
