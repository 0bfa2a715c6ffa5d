"""An export that computes anything else than the edited base is never left behind."""

import ast
import json
from pathlib import Path

import pytest
import torch
from exporting import EDITS, export_edit
from refusals import refused
from safetensors.torch import load_file, save_file
from stage_runs import FAST, manifest, ok, only_run
from tiny_checkpoints import build_checkpoint

from lofit_cli.errors import RunError
from lofit_cli.exports import checkpoint, load_and_run, proof, routes, targets
from lofit_cli.exports.proof import Observed


def test_a_fold_that_is_off_by_a_hundredth_is_found_by_the_fresh_process_and_leaves_no_folder(lofit, monkeypatch):
    Path("heads.json").write_text("[[0, 1], [1, 0]]")
    ok(lofit("train-offsets", "head_mask=heads.json", *FAST, "hydra.run.dir=runs/made"))
    right = routes.folded_state

    def wrong(lm, fold):
        state = right(lm, fold)
        return {n: t + 1e-2 if n.endswith("o_proj.bias") else t for n, t in state.items()}

    monkeypatch.setattr(routes, "folded_state", wrong)
    refused(
        lofit("export", "intervention=runs/made", "to=hf", "out=out"), "nats on a token, and 0.0001 is", exit_code=1
    )
    assert not Path("out").exists()
    assert not list(Path().glob(".out*"))
    assert manifest(only_run("export"))["status"] == "failed"


def test_a_bias_that_the_config_does_not_announce_is_not_exported(tmp_path, monkeypatch):
    build_checkpoint("llama", tmp_path / "base")
    write = checkpoint.write_checkpoint

    def forget(lm, model, folder, dtype):
        write(lm, model, folder, dtype)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "attention_bias": False}))

    monkeypatch.setattr(targets, "write_checkpoint", forget)
    with pytest.raises(
        RunError, match=r"stock transformers leaves out or makes up model\.layers\.\d\.self_attn\.[kqvo]_proj\.bias"
    ):
        export_edit(tmp_path / "base", EDITS["offset"], "hf", tmp_path / "out")


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2_moe", "gpt2"])
def test_each_bias_of_an_export_is_one_that_the_class_builds_from_the_config(family, tmp_path):
    build_checkpoint(family, tmp_path / "base")
    export_edit(tmp_path / "base", EDITS["offset"], "hf", tmp_path / "out")
    config = load_and_run.AutoConfig.from_pretrained(tmp_path / "out")
    with torch.device("meta"):
        built = load_and_run.AutoModelForCausalLM.from_config(config).state_dict()
    tied = {"lm_head.weight"}
    written = load_file(tmp_path / "out/model.safetensors")
    assert {n for n in written if n.endswith("bias")} == {n for n in built if n.endswith("bias")}
    assert {n for n in built if "experts" not in n} - set(written) <= tied


def test_a_tokenizer_that_changed_is_found(tmp_path, monkeypatch):
    build_checkpoint("llama", tmp_path / "base")
    write = checkpoint.write_checkpoint

    def spoil(lm, model, folder, dtype):
        write(lm, model, folder, dtype)
        content = json.loads((folder / "tokenizer.json").read_text())
        content["model"]["merges"] = []
        (folder / "tokenizer.json").write_text(json.dumps(content))

    monkeypatch.setattr(targets, "write_checkpoint", spoil)
    with pytest.raises(RunError, match="the exported tokenizer makes other tokens than the base's"):
        export_edit(tmp_path / "base", EDITS["offset"], "hf", tmp_path / "out")


def test_an_export_that_nobody_can_load_is_not_one(tmp_path, monkeypatch):
    build_checkpoint("llama", tmp_path / "base")
    monkeypatch.setattr(targets, "write_checkpoint", lambda lm, model, folder, dtype: save_file({}, folder / "a"))
    monkeypatch.setattr(load_and_run, "main", proof.start_process)
    with pytest.raises(RunError, match=r"could not be loaded by a fresh process \(.*\)"):
        export_edit(tmp_path / "base", EDITS["offset"], "hf", tmp_path / "out")


def test_greedy_answers_may_part_at_a_tie_only():
    wanted = Observed([], [], [[1, 2, 3]], [[1.0, 1e-6, 1.0]])
    assert proof.same_text(wanted, Observed([], [], [[1, 2, 3]], []))
    assert proof.same_text(wanted, Observed([], [], [[1, 5, 7]], []))
    assert not proof.same_text(wanted, Observed([], [], [[4, 2, 3]], []))


@pytest.mark.parametrize("place", [0, 1])
def test_log_probabilities_that_are_no_numbers_are_no_proof(place):
    values = [torch.zeros(3), torch.zeros(3)]
    one, other = (Observed([tensor.clone() for tensor in values], [torch.zeros(2)], [], []) for _ in range(2))
    assert proof.difference(one, other) == 0
    other.log_probs[place][1] = float("nan")
    assert not proof.difference(one, other) <= proof.TOLERANCE


def test_the_fresh_process_knows_nothing_of_lofit():
    tree = ast.parse(Path(load_and_run.__file__).read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert not [name for name in imported if name.startswith("lofit")]
