"""`lofit doctor`: a line a check, and exit code 1 for a model or a machine on which a run would go wrong."""

import inspect
import json
from collections import namedtuple
from pathlib import Path

import pytest
import torch
import transformers as t
from stage_runs import ok
from tiny_models import EACH_FAMILY, build_language_model, build_model, build_tokenizer
from typer.testing import CliRunner

from lofit_cli.cli import app
from lofit_cli.doctor import model_checks, surroundings
from lofit_cli.models import memory
from lofit_cli.models.checkpoint import read_outline
from lofit_cli.models.outline import find_files, kept_bytes, weight_bytes
from lofit_cli.schema.sources import ModelConfig

MODEL_CHECKS = ("heads", "zero edit", "folded weights", "batching", "batch of N", "gradient")


def examine(folder, *overrides):
    return CliRunner().invoke(app, ["doctor", "model=hub", f"model.id={folder}", *overrides])


def verdicts(result):
    """Return each line's check -> (verdict, what was found)."""
    lines = result.stdout.splitlines()
    return {line[:16].strip(): (line[17:25].strip(), line[26:]) for line in lines}


@pytest.fixture
def make_model(workplace):
    """Return a function that writes a tiny model of a family into a folder."""

    def make(family):
        build_model(family).save_pretrained(family)
        build_tokenizer().save_pretrained(family)
        return family

    return make


@pytest.mark.parametrize("family", EACH_FAMILY)
def test_a_sound_model_passes_every_check(family, make_model, workplace):
    before = sorted(workplace.rglob("*"))
    folder = make_model(family)
    found = verdicts(ok(examine(folder)))
    assert {verdict for verdict, _ in found.values()} == {"ok"}, found
    assert set(MODEL_CHECKS) < set(found)
    assert f"torch {torch.__version__}" in found["versions"][1]
    assert "3 layers of 4 heads of" in found["heads"][1]
    assert "bit by bit" in found["zero edit"][1]
    assert "12 of 12 heads" in found["gradient"][1]
    written = [path for path in workplace.rglob("*") if path not in before and family not in path.parts]
    assert written == []


@pytest.mark.parametrize("smallest", [2, 3])
def test_a_model_that_leaks_across_the_batch_fails(smallest, make_model, monkeypatch):
    """Batches of two are tried at load already; the doctor also finds what shows in larger ones only."""
    own = t.LlamaForCausalLM.forward

    def leaking(self, *args, **inputs):
        found = own(self, *args, **inputs)
        if len(found.logits) >= smallest:
            found.logits = found.logits + 0.1 * found.logits.mean(dim=0, keepdim=True)
        return found

    leaking.__signature__ = inspect.signature(own)
    monkeypatch.setattr(t.LlamaForCausalLM, "forward", leaking)
    result = examine(make_model("llama"))
    assert result.exit_code == 1
    assert verdicts(result)["batch of N"][0] == "FAILED"
    assert "1 check failed (batch of N)" in result.stderr


def test_a_model_whose_packed_rows_leak_fails(monkeypatch):
    lm = build_language_model("llama")
    assert model_checks.check_batching(lm).verdict == "ok"
    monkeypatch.setattr("lofit_cli.models.forward.row_masks", lambda model, row, length: None)
    found = model_checks.check_batching(lm)
    assert found.verdict == "FAILED"
    assert "set model.dtype=float32" in found.found


def test_an_edit_that_is_not_folded_as_it_acts_fails(monkeypatch):
    lm = build_language_model("gpt2")
    own = model_checks.fold_edit
    monkeypatch.setattr(model_checks, "fold_edit", lambda lm, edit: _doubled(own(lm, edit)))
    biases = {name: value.clone() for name, value in lm.model.state_dict().items() if name.endswith("bias")}
    assert model_checks.check_folded_weights(lm).verdict == "FAILED"
    assert all(lm.model.state_dict()[name].equal(value) for name, value in biases.items())


def _doubled(fold):
    return namedtuple("Fold", "biases")({path: 2 * bias for path, bias in fold.biases.items()})


def test_a_module_that_hides_an_edit_is_found(monkeypatch):
    lm = build_language_model("llama")
    for projection in lm.output_projections.values():
        monkeypatch.setattr(projection, "forward", lambda given, own=projection: (given @ own.weight.T).detach())
    assert model_checks.check_gradient(lm).verdict == "FAILED"


def test_an_edit_of_zeros_that_changes_a_bit_fails(monkeypatch):
    lm = build_language_model("llama")
    for projection in lm.output_projections.values():
        own = projection.forward
        edited = lambda given, own=own, rows=projection: own(given) * (1 + 1e-3 * bool(rows._forward_pre_hooks))  # noqa: E731
        monkeypatch.setattr(projection, "forward", edited)
    assert model_checks.check_zero_edit(lm).verdict == "FAILED"


def test_half_precision_states_a_wider_tolerance(make_model):
    exact, half = (verdicts(ok(examine(make_model("llama"), f"model.dtype={d}"))) for d in ("float32", "bfloat16"))
    allowed = [float(found["batching"][1].split(" is allowed")[0].rsplit(" ", 1)[1]) for found in (exact, half)]
    assert allowed[0] == 1e-4 < allowed[1] < 1
    assert "bfloat16" in half["heads"][1]


def test_a_folder_with_a_config_alone_is_told_what_memory_it_will_take(make_model):
    folder = make_model("llama")
    num_weights = build_model("llama").num_parameters()
    Path(f"{folder}/model.safetensors").unlink()
    result = examine(folder, "model.dtype=float32")
    assert result.exit_code == 1
    found = verdicts(result)
    assert found["files"][0] == "FAILED"
    assert found["memory"][0] == "warning"
    assert f"take {4 * num_weights / 1e9:.2f} GB in float32" in found["memory"][1]
    assert "a row of 512 tokens takes up to" in found["memory"][1]
    assert "could not be loaded" in result.stderr
    assert "zero edit" not in found


def test_the_shape_of_llama_2_7b_needs_no_weights(tmp_path):
    shape = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}
    t.LlamaConfig(vocab_size=32000, **shape).save_pretrained(tmp_path)
    config = ModelConfig(str(tmp_path), dtype="bfloat16")
    outline = read_outline(config, find_files(config).folder)
    # Touvron et al. 2023 call it 6.7 billion parameters.
    assert weight_bytes(outline) == 2 * 6_738_415_616
    # At least what enters and leaves each of seven maps in a layer has to be kept where it is not linear.
    assert kept_bytes(outline, 512) > 32 * 512 * (4096 + 3 * 11008) * 2


def test_what_is_kept_for_the_way_back_is_counted_as_torch_keeps_it(make_model):
    folder = make_model("llama")
    config = ModelConfig(folder, dtype="float32")
    outline = read_outline(config, find_files(config).folder)
    one, two, four = (kept_bytes(outline, size) for size in (64, 128, 256))
    # Linear in the tokens, but for pairs of tokens: 3 layers of 4 heads keep their softmax in float32.
    assert four - 2 * two - (two - 2 * one) * 2 == pytest.approx(0, abs=0.2 * four)
    assert two - 2 * one >= 3 * 4 * 4 * (128**2 - 2 * 64**2)


def test_a_model_that_does_not_fit_is_not_loaded(make_model, monkeypatch):
    folder = make_model("llama")
    monkeypatch.setattr(surroundings, "free_memory", lambda device: 1000)
    result = examine(folder)
    assert result.exit_code == 1
    assert verdicts(result)["memory"][0] == "FAILED"
    assert "set model.dtype=bfloat16" in verdicts(result)["memory"][1]
    assert "not loaded, because it does not fit" in result.stderr


def test_free_memory_heeds_a_containers_own_limit(tmp_path, monkeypatch):
    machine = memory.free_memory(torch.device("cpu"))
    assert machine is None or machine > 0
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("2000\n")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert memory.free_memory(torch.device("cpu")) == 3000


@pytest.mark.parametrize(("is_offline", "verdict"), [(True, "FAILED"), (False, "warning")])
def test_files_that_are_not_here_are_told_of_without_the_network(is_offline, verdict, monkeypatch):
    monkeypatch.setattr(surroundings.constants, "HF_HUB_OFFLINE", is_offline)
    config = ModelConfig("nobody/has-this-model")
    found = surroundings.check_files(config, find_files(config))
    assert (found.verdict, "no file of the model is here" in found.found) == (verdict, True)
    assert surroundings.check_memory(config, find_files(config)).verdict == "warning"


def test_shards_count_as_here_only_when_all_are(make_model):
    folder = make_model("llama")
    build_model("llama").save_pretrained(folder, max_shard_size="20kB")
    Path(f"{folder}/model.safetensors").unlink()
    index = json.loads(Path(folder, "model.safetensors.index.json").read_text())
    shards = sorted(set(index["weight_map"].values()))
    assert len(find_files(ModelConfig(folder)).weights) == len(shards) > 1
    Path(f"{folder}/{shards[0]}").unlink()
    assert find_files(ModelConfig(folder)).weights == ()


@pytest.mark.parametrize(
    ("overrides", "words", "code"),
    [
        (("model.id=smolm2",), "did you mean 'smollm2'?", 2),
        (("model.device=gpu",), "model.device=gpu is not there", 2),
        (("model.id=data",), "model.id=data could not be loaded", 1),
        (("seed=1",), "unknown key 'seed'", 2),
        (("runs_dir=",), "runs_dir= is empty", 2),
    ],
)
def test_what_cannot_be_checked_is_refused_in_a_sentence(overrides, words, code, workplace):
    result = CliRunner().invoke(app, ["doctor", "model=hub", "model.id=nobody/x", *overrides])
    assert (result.exit_code, words in " ".join(result.stderr.split())) == (code, True), result.stderr
