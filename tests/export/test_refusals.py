"""What can't leave the lab exactly, or not there, is refused in one sentence before anything is written."""

import json
from pathlib import Path

import pytest
import torch
from refusals import refused
from stage_runs import FAST, ok, unseal

from lofit_cli.artifacts.files import read_json
from lofit_cli.errors import UserError
from lofit_cli.exports import load_and_run, proof
from lofit_cli.exports.fold import require_weights
from lofit_cli.exports.vectors import require_vectors
from lofit_cli.interventions.residual_edit import DirectionsEdit

HEADS = ("head_mask=heads.json",)
CANDIDATES = ("method.alphas=[9.0]", "method.layers=[1]")
MADE = {
    "iti": ("method=iti", "method.alphas=[30.0]", *HEADS),
    "caa": ("method=caa", *CANDIDATES),
    "contrast": ("method=repe", "method.vector=contrast", *CANDIDATES),
    "loreft": ("method=loreft", *FAST),
    "icl": ("method=icl", "method.num_examples=2"),
    "full": ("method=full", *FAST),
    "red": ("method=red", *FAST),
}
REFUSALS = {
    ("iti", "hf"): "it acts at the tokens that predict an answer only, and weights act at every token",
    ("iti", "peft"): "always on would have to be made and measured before it is exported: use to=vector",
    ("caa", "hf"): "it acts at the tokens that predict an answer only",
    ("caa", "gguf"): "it acts at answer tokens only, and a control vector acts at every token; use to=vector",
    ("contrast", "hf"): "its vector is computed anew for each text",
    ("contrast", "vector"): "it is a contrast_edit, which is no vector per head or layer",
    ("loreft", "hf"): "it changes the first and last tokens of a prompt only",
    ("icl", "hf"): "it is text before each prompt and no change of the model",
    ("full", "peft"): "its weights are the model's own, all of them, and an adapter leaves those alone; use to=hf",
    ("full", "vector"): "it is a weights_edit, which is no vector per head or layer",
}


@pytest.mark.parametrize(("name", "to"), REFUSALS, ids="-".join)
def test_what_cant_be_exact_is_refused_and_the_sentence_says_why(lofit, name, to):
    Path("heads.json").write_text("[[0, 1], [2, 3]]")
    ok(lofit("train-offsets", *MADE[name], "hydra.run.dir=runs/made"))
    result = lofit("export", "intervention=runs/made", f"to={to}", "out=out")
    refused(result, f"intervention=runs/made can't be exported with to={to}: ")
    refused(result, REFUSALS[name, to])
    assert not Path("out").exists()


@pytest.fixture
def made(lofit, monkeypatch):
    monkeypatch.setattr(proof, "start_process", load_and_run.main)
    Path("heads.json").write_text("[[0, 1], [2, 3]]")
    ok(lofit("train-offsets", *HEADS, *FAST, "hydra.run.dir=runs/made"))
    return lofit


def test_a_folder_that_holds_something_is_left_as_it_is(made):
    Path("out").mkdir()
    Path("out/mine").write_text("mine")
    refused(made("export", "intervention=runs/made", "to=vector", "out=out"), "out=out is there already; name a folder")
    assert [path.name for path in Path("out").iterdir()] == ["mine"]
    Path("file").write_text("mine")
    refused(made("export", "intervention=runs/made", "to=vector", "out=file"), "out=file is there already")
    refused(made("export", "intervention=runs/made", "to=vector", "out=file/x"), "out=file/x lies in file, which is a")
    assert Path("file").read_text() == "mine"
    Path("link").symlink_to("nowhere")
    refused(made("export", "intervention=runs/made", "to=vector", "out=link"), "out=link is a link to nowhere, which")


def test_an_empty_folder_is_filled_and_new_ones_are_made(made):
    Path("out").mkdir()
    Path("link").symlink_to("out")
    Path(".out.of-a-killed-process.partial").mkdir()
    ok(made("export", "intervention=runs/made", "to=vector", "out=link"))
    assert Path("link").is_symlink()
    assert not list(Path().glob(".*.partial")) + list(Path().glob(".*.lock"))
    ok(made("export", "intervention=runs/made", "to=vector", "out=some/where/else"))
    assert Path("out/vector.json").exists()
    assert Path("some/where/else/lofit_export.json").exists()


def test_a_dtype_is_for_weights(made):
    result = made("export", "intervention=runs/made", "to=vector", "out=out", "dtype=bfloat16")
    refused(result, "dtype=bfloat16 is for weights (to=hf or gguf); to=vector is in float32")


def test_a_quantised_base_is_refused(made, model_dir, tmp_path):
    base = tmp_path / "quantised"
    base.mkdir()
    for file in model_dir.iterdir():
        (base / file.name).write_bytes(file.read_bytes())
    config = read_json(base / "config.json") | {"quantization_config": {"quant_method": "bitsandbytes"}}
    (base / "config.json").write_text(json.dumps(config))
    unseal("runs/made")
    manifest = read_json(Path("runs/made/manifest.json"))
    manifest["config"]["model"]["id"] = str(base)
    Path("runs/made/manifest.json").write_text(json.dumps(manifest))
    refused(made("export", "intervention=runs/made", "to=hf", "out=out"), f"the base model '{base}' is quantised")


@pytest.mark.parametrize(
    ("model", "words", "exit_code"),
    [
        (None, "does not say what model it is for", 2),
        ({"id": "x/y", "size": 3}, "does not say what model it is for", 2),
        ({"id": 3}, "does not say what model it is for", 2),
        ({"id": "nowhere"}, "model.id=nowhere is neither a folder nor a Hub id", 2),
    ],
)
def test_a_run_that_does_not_name_its_model_is_refused(made, model, words, exit_code):
    unseal("runs/made")
    manifest = read_json(Path("runs/made/manifest.json"))
    manifest["config"]["model"] = model
    Path("runs/made/manifest.json").write_text(json.dumps(manifest))
    refused(made("export", "intervention=runs/made", "to=hf", "out=out"), words, exit_code)


USAGE = {
    "nothing is said": ((), "out, to must be set"),
    "unknown form": (("intervention=runs/x", "to=hff", "out=out"), "did you mean 'hf'?"),
    "unknown dtype": (("intervention=runs/x", "to=hf", "out=out", "dtype=float23"), "did you mean 'float32'?"),
    "no such run": (("intervention=runs/x", "to=hf", "out=out"), "run directory runs/x does not exist"),
    "no folder": (("intervention=runs/x", "to=hf", "out="), "out= is empty"),
    "a model": (
        ("intervention=runs/x", "to=hf", "out=out", "model.id=x"),
        "unknown key 'model'; allowed: device, dtype, intervention",
    ),
}


@pytest.mark.parametrize("case", USAGE)
def test_usage_errors(lofit, case):
    arguments, words = USAGE[case]
    refused(lofit("export", *arguments), words)


def test_vectors_of_several_layers_are_sent_to_a_form_that_takes_what_is_advised():
    edit = DirectionsEdit(torch.ones(2, 4), [0, 1])
    with pytest.raises(UserError, match="it is a directions_edit"):
        require_vectors(edit)
    with pytest.raises(
        UserError, match="it adds after several layers, and a file with the vector of one can be exported"
    ):
        require_weights(edit)
