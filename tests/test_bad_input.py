"""Every bad input ends in one plain sentence, the right exit code and no traceback."""

from pathlib import Path

import pytest
from refusals import refused

USAGE_ERRORS = {
    "unknown key": (("select-heads", "trainer.learning_rte=1"), "did you mean 'learning_rate'?"),
    "unknown top-level key": (("select-heads", "sed=1"), "did you mean 'seed'?"),
    "key without its group": (("select-heads", "num_epochs=1"), "did you mean 'trainer.num_epochs'?"),
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
    "protocol for a task without a choice": (
        ("evaluate", "task=perplexity", "task.data_dir=sample", "intervention=none", "eval.protocol=lm_eval"),
        "eval.protocol=lm_eval is not used: task 'perplexity' is measured in one way only (pieces of 256 tokens)",
    ),
    "protocol of a training without a choice": (
        ("train-offsets", "method=bitfit", "task=kinship", "task.data_dir=null", "eval.protocol=urial"),
        "eval.protocol=urial is not used: task 'kinship'",
    ),
    "protocol of a selection without a choice": (
        ("select-heads", "task=crows_pairs", "task.data_dir=sample", "eval.protocol=lm_eval"),
        "eval.protocol=lm_eval is not used: task 'crows_pairs'",
    ),
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
    "rate beyond float32": (("train-offsets", "trainer.learning_rate=1e300"), "it must be a number above 0, up to"),
    "penalty beyond float32": (("select-heads", "trainer.l1=1e300"), "trainer.l1=1e+300 is not allowed"),
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
    "nothing to compare": (("compare",), "runs/evaluate/* matches nothing"),
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
    "no folder of BoolQ": (("select-heads", "task=boolq", "task.data_dir=nowhere"), "nowhere is not a folder"),
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
        "it changes prompts, not modules, as method=prompt and method=prefix do; allowed: ",
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


@pytest.mark.parametrize("case", USAGE_ERRORS)
def test_usage_errors(lofit, case):
    arguments, words = USAGE_ERRORS[case]
    refused(lofit(*arguments), words)


def test_usage_errors_leave_no_run_directory(lofit):
    refused(lofit("select-heads", "trainer.keep=bst"), "did you mean 'best'?")
    assert not Path("runs").exists()
