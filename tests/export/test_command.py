"""`lofit export`, run through the command line on a tiny model."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file
from stage_runs import FAST, manifest, ok, only_run

import lofit_cli
from lofit_cli.exports import load_and_run, proof

HEADS = "[[0, 1], [1, 0], [2, 3]]"


@pytest.fixture
def trained_elsewhere(lofit):
    """A run of `train-offsets` on three heads, with offsets large enough to matter; exports start a process each."""
    Path("heads.json").write_text(HEADS)
    ok(lofit("train-offsets", "head_mask=heads.json", "trainer.learning_rate=0.3", *FAST, "hydra.run.dir=runs/made"))
    return lofit


@pytest.fixture
def trained(trained_elsewhere, monkeypatch):
    """The same, where exports are loaded by this process, which is quicker."""
    monkeypatch.setattr(proof, "start_process", load_and_run.main)
    return trained_elsewhere


def test_the_exported_folder_is_clean_and_its_run_says_what_was_proven(trained_elsewhere):
    ok(trained_elsewhere("export", "intervention=runs/made", "to=hf", "out=out"))
    names = {path.name for path in Path("out").iterdir()}
    assert names >= {"config.json", "model.safetensors", "tokenizer.json", "README.md", "lofit_export.json"}
    assert not [name for name in names if name.startswith(".") or "partial" in name]
    assert not list(Path().glob(".*partial"))
    facts = manifest(only_run("export"))
    proven = json.loads(Path("out/lofit_export.json").read_text())["proof"]
    assert facts["status"] == "finished"
    assert facts["largest_difference"] == proven["largest_difference"] <= 1e-4
    assert facts["effect"] == proven["effect"] > 0.1
    assert facts["form"] == "weights in its own class with attention_bias=true"


def test_predictions_of_the_export_are_those_of_the_edited_base(trained, model_dir):
    ok(trained("export", "intervention=runs/made", "to=hf", "out=out"))
    ok(trained("evaluate", "intervention=runs/made", "hydra.run.dir=runs/evaluate/edited"))
    ok(trained("evaluate", "model.id=out", "intervention=none", "hydra.run.dir=runs/evaluate/exported"))
    ok(trained("evaluate", "intervention=none", "hydra.run.dir=runs/evaluate/base"))
    found = {name: _log_probs(f"runs/evaluate/{name}") for name in ("edited", "exported", "base")}
    torch.testing.assert_close(found["exported"], found["edited"], atol=1e-4, rtol=0)
    assert (found["base"] - found["edited"]).abs().max() > 1e-2
    metrics = [json.loads(Path(f"runs/evaluate/{name}/metrics.json").read_text()) for name in ("edited", "exported")]
    for name, summary in metrics[0].items():
        assert metrics[1][name]["mean"] == pytest.approx(summary["mean"], abs=1e-6), name


def _log_probs(folder):
    import pyarrow.parquet as pq

    rows = pq.read_table(f"{folder}/predictions.parquet").to_pylist()
    return torch.tensor([value for row in rows for value in row["log_probs"]], dtype=torch.float64)


def test_transformers_alone_loads_it_and_computes_what_the_edited_model_does(trained, model_dir):
    ok(trained("export", "intervention=runs/made", "to=hf", "out=out"))
    lm = lofit_cli.load_model(lofit_cli.ModelConfig(str(model_dir), dtype="float32"))
    edit, _ = lofit_cli.load_intervention("runs/made", lm)
    stock, report = transformers.AutoModelForCausalLM.from_pretrained("out", output_loading_info=True)
    assert not any(report.values())
    ids = lm.tokenizer("Which number follows the other?", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        before = lm.model(ids).logits
        with edit.attach(lm):
            wanted = lm.model(ids).logits
        found = stock(ids).logits
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
    assert (wanted - before).abs().max() > 0.1


def test_older_readers_find_the_names_they_know(trained):
    ok(trained("export", "intervention=runs/made", "to=hf", "out=out"))
    config = json.loads(Path("out/config.json").read_text())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 10000.0
    assert config["torch_dtype"] == config["dtype"] == "float32"
    assert transformers.AutoConfig.from_pretrained("out").rope_parameters["rope_theta"] == 10000.0


def test_weights_in_bfloat16_are_proven_in_float32_first(trained):
    result = ok(trained("export", "intervention=runs/made", "to=hf", "out=out", "dtype=bfloat16"))
    assert load_file("out/model.safetensors")["model.layers.0.self_attn.o_proj.bias"].dtype == torch.bfloat16
    said = json.loads(Path("out/lofit_export.json").read_text())
    assert said["proof"]["largest_difference"] <= 1e-4 < said["dtype_difference"] < 0.5
    assert "as written, in bfloat16, it differs by" in " ".join(result.stderr.split())


def test_the_model_card_says_what_it_is_and_what_was_measured(trained):
    ok(trained("evaluate", "intervention=runs/made"))
    ok(trained("evaluate", "intervention=none"))
    ok(trained("export", "intervention=runs/made", "to=hf", "out=out"))
    card = Path("out/README.md").read_text()
    assert card.startswith("---\n")
    for fact in ("Method: lofit", "Edited heads: 3", "Trainable parameters: 24", "Licence: see the base model"):
        assert f"- {fact}" in card
    (row,) = (line for line in card.splitlines() if "| mc1 |" in line)
    assert all(cell.strip() for cell in row.strip("|").split("|"))
    assert "vLLM 0.33 reads the new biases." in card


def test_an_adapter_and_vectors_are_proven_too(trained):
    for to, file in (("peft", "adapter_model.safetensors"), ("vector", "vector.safetensors")):
        ok(trained("export", "intervention=runs/made", f"to={to}", f"out={to}"))
        assert Path(to, file).exists()
        said = json.loads(Path(to, "lofit_export.json").read_text())
        assert (said["to"], said["dtype_difference"]) == (to, None)
        assert said["proof"]["largest_difference"] <= 1e-4 < 0.1 < said["proof"]["effect"]


def test_for_llama_cpp_the_command_that_converts_is_printed(trained):
    result = ok(trained("export", "intervention=runs/made", "to=gguf", "out=out"))
    assert "python convert_hf_to_gguf.py out --outtype f32 --outfile out.gguf" in " ".join(result.stderr.split())


def test_a_sweep_over_forms_leaves_a_folder_each(trained):
    ok(trained("export", "-m", "intervention=runs/made", "to=peft,vector", "out=out/${to}"))
    assert {path.name for path in Path("out").iterdir()} == {"peft", "vector"}


def test_the_example_is_what_a_stranger_would_compute(trained):
    ok(trained("export", "intervention=runs/made", "to=hf", "out=out"))
    example = json.loads(Path("out/lofit_export.json").read_text())["example"]
    stock = transformers.AutoModelForCausalLM.from_pretrained("out")
    ids = torch.tensor([example["tokens"]])
    with torch.no_grad():
        log_probs = stock(ids).logits[0, :-1].log_softmax(-1)
    found = log_probs.gather(1, ids[0, 1:, None])[:, 0]
    torch.testing.assert_close(found, torch.tensor(example["log_probs"]), atol=1e-4, rtol=0)
    assert transformers.AutoTokenizer.from_pretrained("out").decode(example["greedy_tokens"]) == example["greedy_text"]


def test_nothing_exported_says_where_the_base_lies(trained, model_dir):
    ok(trained("export", "intervention=runs/made", "to=hf", "out=out"))
    for file in Path("out").iterdir():
        assert str(model_dir).encode() not in file.read_bytes(), file
