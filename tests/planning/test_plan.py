"""`--plan`: what it counts is what a run then does, and it leaves nothing behind."""

from pathlib import Path

import numpy as np
import pytest
import transformers as t
from stage_runs import FAST, lines, manifest, ok, only_run
from tiny_models import build_tokenizer

from lofit_cli.methods import METHODS
from lofit_cli.stages import evaluate, select_heads, train_offsets
from lofit_cli.tasks import load_task
from lofit_cli.tasks.forms.truthfulqa import PROTOCOLS
from lofit_cli.training.objective import Objective

HEADS = "head_mask=heads.json"


@pytest.fixture
def tokens_trained(monkeypatch):
    """Count the tokens of the items that a real run takes a gradient of."""
    counted = []
    own = Objective.loss

    def loss(self, items, backward=False, sign=1):
        if backward:
            counted.extend(len(sequence.tokens) for item in items for sequence in item.sequences)
        return own(self, items, backward, sign)

    monkeypatch.setattr(Objective, "loss", loss)
    return counted


def files():
    return sorted((str(path), path.stat().st_mtime_ns) for path in Path().rglob("*"))


@pytest.mark.parametrize("epochs", [1, 3])
def test_training_is_counted_as_it_is_then_done(epochs, settings, lofit, tokens_trained):
    common = (HEADS, f"trainer.num_epochs={epochs}", "trainer.batch_size=4")
    made = train_offsets.plan_train_offsets(settings("train_offsets", *common))
    tokens_trained.clear()
    ok(lofit("train-offsets", *common))
    steps = lines(only_run("train_offsets") / "history.jsonl")
    assert made.num_steps == len(steps) == 2 * epochs
    assert made.num_tokens == sum(tokens_trained) > 0
    assert made.num_items == 6
    assert made.num_trained_parameters == manifest(only_run("train_offsets"))["num_trained_parameters"] == 16
    by_name = {part.name: part.num_tokens for part in made.parts}
    assert by_name["training"] == made.num_tokens
    assert by_name["reference"] > made.num_tokens / epochs


def test_selecting_is_counted_as_it_is_then_done(settings, lofit, tokens_trained):
    made = select_heads.plan_select_heads(settings("select_heads", *FAST))
    tokens_trained.clear()
    ok(lofit("select-heads", "num_heads=3", *FAST))
    assert (made.num_items, made.num_steps) == (6, len(lines(only_run("select_heads") / "history.jsonl")))
    assert made.num_tokens == sum(tokens_trained) > 0
    assert made.num_trained_parameters == manifest(only_run("select_heads"))["num_trained_parameters"]


def test_measuring_is_counted_by_the_tokens_of_each_prompt_with_each_answer(settings):
    config = settings("evaluate", "intervention=none")
    made = evaluate.plan_evaluate(config)
    task, tokenizer = load_task(config.task), build_tokenizer()
    texts = [
        f"{PROTOCOLS['iti'].text}Q: {item.text}\nA: {answer}."
        for item in task.items("test")
        for answer in (*item.correct, *item.incorrect)
    ]
    assert made.num_tokens == sum(len(tokens) for tokens in tokenizer(texts)["input_ids"])
    assert (made.num_items, made.num_steps, made.num_trained_parameters) == (8, 0, 0)
    assert made.seconds > 0
    assert made.memory["memory"] > 10**8


def test_training_on_texts_has_no_reference_and_measures_nothing_in_between(settings, lofit, tokens_trained):
    common = (HEADS, "task=kinship", "task.data_dir=null", "task.num_train=5", *FAST)
    made = train_offsets.plan_train_offsets(settings("train_offsets", *common))
    tokens_trained.clear()
    ok(lofit("train-offsets", *common))
    assert [part.name for part in made.parts] == ["loading", "training", "validation"]
    assert (made.num_items, made.num_steps) == (5, len(lines(only_run("train_offsets") / "history.jsonl")))
    assert made.num_tokens == sum(tokens_trained) > 0


def test_validation_is_counted_every_so_many_epochs_and_at_the_end(settings):
    common = (HEADS, "trainer.num_epochs=5", "trainer.batch_size=4")
    every, some = (
        {part.name: part.num_tokens for part in train_offsets.plan_train_offsets(settings("train_offsets", *o)).parts}
        for o in (common, (*common, "trainer.validate_every=2"))
    )
    assert every["validation"] * 3 == some["validation"] * 5


@pytest.mark.parametrize(
    "arguments",
    [
        ("select-heads", *FAST),
        ("train-offsets", HEADS, *FAST),
        ("evaluate", "intervention=none"),
        ("select-heads", "-m", "seed=1,2", *FAST),
        ("evaluate", "-m", "intervention=none", "eval.protocol=iti,lm_eval"),
    ],
)
def test_a_plan_leaves_nothing_behind(arguments, settings, lofit):
    before = files()
    result = ok(lofit(*arguments, "--plan"))
    assert files() == before
    assert " GB" in result.stdout


def test_a_sweep_has_a_row_a_point_and_a_sum(settings, lofit, monkeypatch):
    planned = []
    own = train_offsets.plan_making
    monkeypatch.setattr(train_offsets, "plan_making", lambda *given: planned.append(given) or own(*given))
    result = ok(lofit("train-offsets", "--plan", "-m", HEADS, "seed=1,2,3", "trainer.num_epochs=1,2"))
    assert "lofit train-offsets: 6 points, all to do, about" in result.stdout
    assert len(planned) == 2, "points that differ in their seed alone are the same work"
    rows = [[cell.strip() for cell in line.split("│")] for line in result.stdout.splitlines() if "seed=" in line]
    assert [row[1] for row in rows[:2]] == ["seed=1 trainer.num_epochs=1", "seed=1 trainer.num_epochs=2"]
    assert [row[3] for row in rows] == ["1", "2"] * 3
    assert next(line for line in result.stdout.splitlines() if "in all" in line).split("│")[3].strip() == "9"


OWN_SETTINGS = {
    "icl": ("method.num_examples=5",),
    "lora": ("+method.config.target_modules=all-linear",),
    "peft": ("method.config={peft_type: IA3, target_modules: all-linear, feedforward_modules: []}",),
    "iti": ("method.alphas=[1,2]",),
    "random_offset": ("method.source=runs/made",),
    "proxy": ("method.source=runs/made",),
    "file": ("method.source=vector.npy", "method.layer=1"),
    "prefix": ("method.num_vectors=2",),
    "prompt": ("method.num_vectors=2",),
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_planned(name, settings, lofit):
    if name in ("random_offset", "proxy"):
        ok(lofit("train-offsets", HEADS, *FAST, "hydra.run.dir=runs/made"))
    np.save("vector.npy", np.ones(32, dtype=np.float32))
    heads = (HEADS,) if METHODS[name].takes_heads else ()
    config = settings("train_offsets", f"method={name}", *heads, *OWN_SETTINGS.get(name, ()), *FAST)
    made = train_offsets.plan_train_offsets(config)
    assert (made.num_steps > 0) == METHODS[name].trains
    assert made.seconds > 0
    # BiPO's layers below its own are computed once, and so are those below the first selected head, here layer 0.
    assert bool(made.notes) == (not METHODS[name].trains or name == "bipo")


def test_what_is_generated_is_counted_by_its_prompts(settings):
    config = settings("evaluate", "intervention=none", "task=kinship", "task.data_dir=null", "task.num_test=3")
    made = evaluate.plan_evaluate(config)
    prompts = [item.text for item in load_task(config.task).items("test")]
    assert made.num_tokens == sum(len(tokens) for tokens in build_tokenizer()(prompts)["input_ids"])
    assert made.notes == ("up to 12 tokens more are generated for each item",)


def test_a_model_of_the_shape_of_llama_2_7b_is_planned_from_its_config_alone(settings, tmp_path, lofit):
    shape = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}
    t.LlamaConfig(vocab_size=32000, **shape).save_pretrained(tmp_path / "large")
    large = (f"model.id={tmp_path / 'large'}", "model.dtype=bfloat16", "model.max_row_tokens=256", *FAST)
    made = select_heads.plan_select_heads(settings("select_heads", *large))
    assert (made.num_items, made.num_steps, made.num_tokens, made.seconds) == (6, 4, None, None)
    # Sections 2 and 6 of the paper: 1024 heads of 128 numbers.
    assert made.num_trained_parameters == 1024 * 128
    # Llama-2-7B has 6,738,415,616 weights of two bytes; AdamW keeps 16 bytes of a number that is trained.
    assert made.memory["memory"] > 2 * 6_738_415_616 + 16 * 1024 * 128
    assert made.memory["memory"] < 2 * 6_738_415_616 + 4 * 10**9
    offsets = train_offsets.plan_train_offsets(settings("train_offsets", *large, "num_heads=96"))
    assert offsets.num_trained_parameters == 96 * 128
    result = ok(lofit("evaluate", "--plan", *large[:2], "intervention=none"))
    assert "would take a time that is not known" in result.stdout
    assert "from config.json alone" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train-offsets",), "no finished select_heads run with model"),
        (("select-heads", "num_heads=13"), "give 1 to 12"),
        (("select-heads", "task.num_train=7"), "more than the 6 training items"),
        (("train-offsets", "method=icl", "method.num_examples=99"), "method.num_examples=99 is more than the"),
        (("evaluate", "intervention=nowhere"), "run directory nowhere does not exist"),
        (("evaluate", "-m", "eval.split=test,tst"), "eval.split=tst"),
    ],
)
def test_what_can_not_be_run_can_not_be_planned(arguments, words, settings, lofit):
    before = files()
    result = lofit(*arguments, "--plan")
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())
    assert files() == before


def test_points_that_are_finished_are_counted_as_done(lofit):
    sweep = ("select-heads", "-m", "selector=random")
    assert lofit(*sweep, "seed=1,2").exit_code == 0
    assert "3 points, 2 done, 1 to do" in lofit(*sweep, "seed=1,2,3", "--plan").stdout
    assert "3 points, all to do" in lofit(*sweep, "seed=1,2,3", "--plan", "force=true").stdout


@pytest.mark.parametrize("selector", ["scale", "gates", "probe"])
def test_a_selector_is_planned_with_the_numbers_that_it_trains(selector, settings, lofit):
    made = select_heads.plan_select_heads(settings("select_heads", f"selector={selector}", *FAST))
    ok(lofit("select-heads", f"selector={selector}", "num_heads=3", *FAST))
    assert made.num_trained_parameters == manifest(only_run("select_heads"))["num_trained_parameters"]


def test_both_directions_of_a_step_are_counted(settings, lofit, tokens_trained):
    common = ("method=bipo", "method.loss=reps", *FAST)
    made = train_offsets.plan_train_offsets(settings("train_offsets", *common))
    tokens_trained.clear()
    ok(lofit("train-offsets", *common))
    assert made.num_tokens == sum(tokens_trained) > 0
