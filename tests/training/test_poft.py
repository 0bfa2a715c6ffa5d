"""PoFT: right answers weighed by how likely other models find them."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from chat_models import chat_tokenizer
from making import make_config, make_task
from refusals import refused
from tiny_models import build_language_model, build_model, build_tokenizer, edit_all_heads, random_values

from lofit_cli.errors import UserError
from lofit_cli.methods import METHODS
from lofit_cli.models.load import load_model
from lofit_cli.schema.sources import ModelConfig, TaskConfig
from lofit_cli.stages.poft import check_poft, weigh_answers
from lofit_cli.stages.train_offsets import plan_train_offsets, train_offsets
from lofit_cli.tasks.forms.generation import GenerationTask, OpenItem
from lofit_cli.training.losses import poft_loss
from lofit_cli.training.objective import Objective


def task_of_answers():
    items = [OpenItem(f"{i}", "", f"Which number is {i}?\n", f" it is {i}.", (f"it is {i}",), " no") for i in range(3)]
    return GenerationTask(TaskConfig("t"), {"train": items, "validation": items[:1]})


def test_the_loss_is_that_of_the_margin_over_the_other_models():
    log_probs, others, lengths = torch.tensor([-6.0]), torch.tensor([-1.5]), torch.tensor([3.0])
    assert float(poft_loss(log_probs, others, lengths)) == pytest.approx(math.log1p(math.exp(0.5)), abs=1e-6)


def test_what_others_find_impossible_does_not_count_and_what_they_find_certain_counts_as_in_sft():
    log_probs = torch.tensor([-6.0], requires_grad=True)
    lengths = torch.tensor([3.0])
    for others, share in ((-1e4, 0.0), (1e4, 1.0)):
        (slope,) = torch.autograd.grad(poft_loss(log_probs, torch.tensor([others]), lengths), log_probs)
        assert float(slope) == pytest.approx(-share / 3, abs=1e-6)


def test_items_are_weighed_by_the_mean_over_models(tmp_path):
    for name, family in (("one", "llama"), ("two", "gpt2")):
        build_model(family).save_pretrained(tmp_path / name)
        build_tokenizer().save_pretrained(tmp_path / name)
    lm, task = build_language_model("qwen2"), task_of_answers()
    names = [str(tmp_path / name) for name in ("one", "two")]
    task = weigh_answers(task, lm, names)
    items = Objective(lm, task, 0.5).prepare("train")
    expected = []
    for name in names:
        other = load_model(ModelConfig(name))
        (text,) = other.encode([task.items("train")[0].text + " it is 0."])
        start = len(other.encode([task.items("train")[0].text])[0].tokens)
        tokens = torch.tensor([text.tokens])
        with torch.no_grad():
            log_probs = other.model(input_ids=tokens).logits[0, :-1].log_softmax(dim=-1)
        expected.append(log_probs.gather(1, tokens[0, 1:, None]).flatten()[start - 1 :].mean())
    assert float(items[0].reference) == pytest.approx(float(torch.stack(expected).mean()), abs=1e-5)
    objective = Objective(lm, task, 0.5)
    edit = edit_all_heads(random_values(lm.geometry, 1))
    with edit.attach(lm):
        assert objective.loss(items, backward=True) > 0
    assert edit.scale.grad.abs().max() > 0


@pytest.mark.parametrize("append_eos", [False, True])
@pytest.mark.parametrize("template", [None, "qwen3", "mistral"])
def test_a_model_that_is_weighed_by_itself_has_no_margin(template, append_eos, tmp_path):
    build_model("llama").save_pretrained(tmp_path)
    (chat_tokenizer(template) if template else build_tokenizer()).save_pretrained(tmp_path)
    lm = load_model(ModelConfig(str(tmp_path), chat_template=template is not None))
    config = TaskConfig("t", append_eos=append_eos)
    task = weigh_answers(replace(task_of_answers(), config=config), lm, [str(tmp_path)])
    objective = Objective(lm, task, 0.5)
    with torch.no_grad():
        assert objective.loss(objective.prepare("train")) == pytest.approx(math.log(2), abs=1e-5)


def test_a_task_of_pairs_is_refused():
    with pytest.raises(UserError, match=r"trainer.poft=\['smollm2'\] weighs right answers, and task 't' is trained on"):
        check_poft(make_task(), ["smollm2"], "method=lofit", True)


def test_what_uses_no_loss_is_refused():
    with pytest.raises(UserError, match=r"trainer.poft=\['x'\] weighs .* which method=caa does not use; leave it out"):
        check_poft(task_of_answers(), ["x"], "method=caa", False)
    check_poft(make_task(), [], "method=caa", False)


@pytest.mark.parametrize("stage", [train_offsets, plan_train_offsets])
@pytest.mark.parametrize("name", sorted(name for name, method in METHODS.items() if not method.trains))
def test_methods_without_a_loss_are_refused_before_a_model_is_loaded(stage, name):
    config = replace(make_config(name, Path("x")), task=TaskConfig("kinship"), model=ModelConfig("no/model"))
    config = replace(config, trainer=replace(config.trainer, poft=["smollm2"]))
    with pytest.raises(UserError, match=f"which method={name} does not use"):
        stage(config, *([] if stage is plan_train_offsets else [None]))


def test_selectors_without_a_loss_are_refused(lofit):
    words = ("select-heads", "selector=probe", "task=kinship", "task.data_dir=null", "trainer.poft=[smollm2]")
    refused(lofit(*words), "which selector=probe does not use; leave it out")


def test_models_are_named_by_the_key_that_they_were_given_for(lofit):
    Path("broken").mkdir()
    Path("broken", "config.json").write_text("{}")
    words = ("select-heads", "task=kinship", "task.data_dir=null", "task.num_train=2", "task.num_test=2")
    refused(lofit(*words, "trainer.poft=[nowhere]"), "trainer.poft=nowhere is neither a folder nor a Hub id")
    found = lofit(*words, "trainer.poft=[./broken]")
    refused(found, "trainer.poft=./broken", found.exit_code)
    assert "model.id" not in found.stderr
