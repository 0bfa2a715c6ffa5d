"""Our edits against the peft library's adapters: a scale on all heads is IA3 on `o_proj`; LoRA is LoRA, trained too."""

import copy
import warnings

import peft
import pytest
import torch
from making import training_config
from tiny_models import EACH_FAMILY, build_language_model, edit_all_heads, random_values
from torch.nn.functional import cross_entropy

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.interventions.peft_edit import PeftEdit
from lofit_cli.schema.components import TrainerConfig
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks.forms.generation import GenerationTask, OpenItem
from lofit_cli.training.trainer import train

TOKENS = torch.arange(3, 15)[None]
LORA = {"peft_type": "LORA", "r": 3, "lora_alpha": 5, "lora_dropout": 0.0, "target_modules": ["q_proj", "v_proj"]}


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", EACH_FAMILY)
def test_a_scale_on_all_heads_is_ia3_on_the_output_projection(family):
    lm = build_language_model(family)
    scale = random_values(lm.geometry, 1)
    edit = edit_all_heads(scale=scale)
    with edit.attach(lm):
        ours = lm.model(input_ids=TOKENS).logits
    (gradient,) = torch.autograd.grad(ours.square().mean(), edit.scale)

    names = {module: name for name, module in lm.model.named_modules()}
    targets = [names[projection] for projection in lm.output_projections.values()]
    config = peft.IA3Config(target_modules=targets, feedforward_modules=targets)
    adapted = peft.get_peft_model(lm.model, config)
    factors = [weight for name, weight in adapted.named_parameters() if "ia3_l" in name]
    for factor, values in zip(factors, scale, strict=True):
        factor.data.copy_((1 + values).view(factor.shape))
    theirs = adapted(input_ids=TOKENS).logits
    gradients = torch.autograd.grad(theirs.square().mean(), factors)
    close(ours, theirs)
    close(gradient, torch.cat([value.view(-1, lm.geometry.head_dim) for value in gradients]))


@pytest.mark.parametrize("family", ["llama", "qwen2", "olmo2"])
def test_lora_takes_the_steps_that_peft_takes(family, tmp_path):
    items = [OpenItem(str(i), "", f"Q: number {i}? A:", f" the answer {i}", (str(i),), " No") for i in range(4)]
    task = GenerationTask(TaskConfig("t"), {"train": items, "validation": items})
    lm = build_language_model(family, max_row_tokens=1000)
    plain = copy.deepcopy(lm.model)
    torch.manual_seed(0)
    edit = PeftEdit.initial(lm, LORA)
    trainer = TrainerConfig(learning_rate=0.01, num_epochs=3, batch_size=4, max_grad_norm=1e9)
    train(edit, lm, task, training_config(trainer, seed=0), RunDir(tmp_path, "train_offsets"))

    torch.manual_seed(0)
    settings = {key: value for key, value in LORA.items() if key != "peft_type"}
    adapted = peft.get_peft_model(plain, peft.LoraConfig(task_type="CAUSAL_LM", **settings)).eval()
    train_plainly(adapted, lm.tokenizer, items, num_steps=3, learning_rate=0.01)
    with edit.attach(lm), torch.no_grad():
        close(lm.model(input_ids=TOKENS).logits, adapted(input_ids=TOKENS).logits)
    assert edit.num_parameters == sum(w.numel() for w in adapted.parameters() if w.requires_grad)


def train_plainly(model, tokenizer, items, num_steps, learning_rate):
    """AdamW on the answers' cross-entropy, all items in a step, a sequence at a time; the rate falls to 0."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=learning_rate, weight_decay=0.0)
    for step in range(num_steps):
        optimizer.param_groups[0]["lr"] = learning_rate * (1 - step / num_steps)
        optimizer.zero_grad()
        losses = []
        for item in items:
            prompt, full = (tokenizer(text)["input_ids"] for text in (item.text, item.text + item.answer))
            logits = model(input_ids=torch.tensor([full])).logits[0, len(prompt) - 1 : -1]
            losses.append(cross_entropy(logits, torch.tensor(full[len(prompt) :]), reduction="none"))
        torch.cat(losses).mean().backward()
        optimizer.step()


def test_dropout_is_on_in_training_and_off_otherwise():
    lm = build_language_model("llama")
    edit = PeftEdit.initial(lm, {**LORA, "lora_dropout": 0.5})
    with torch.no_grad():
        for weight in edit.weights:
            weight.normal_()
    with edit.attach(lm), torch.no_grad():
        edit.train()
        first, second = (lm.model(input_ids=TOKENS).logits for _ in range(2))
        assert not first.equal(second)
        edit.eval()
        first, second = (lm.model(input_ids=TOKENS).logits for _ in range(2))
        assert first.equal(second)


def log_probs(lm):
    with torch.no_grad():
        return lm.model(input_ids=TOKENS).logits.log_softmax(dim=-1)


@pytest.mark.parametrize("peft_type", ["LORA", "IA3", "VERA", "LOHA", "LOKR", "OFT", "BOFT", "LN_TUNING", "FOURIERFT"])
def test_adapters_leave_the_model_as_it_was(peft_type):
    lm = build_language_model("llama")
    before = log_probs(lm)
    sizes = {"FOURIERFT": {"n_frequency": 8}, "BOFT": {"boft_block_size": 4}, "OFT": {"oft_block_size": 4}}
    targets = {} if peft_type in ("IA3", "LN_TUNING") else {"target_modules": ["q_proj", "o_proj"]}
    edit = PeftEdit.initial(lm, {"peft_type": peft_type, **targets, **sizes.get(peft_type, {})})
    assert edit.num_parameters > 0
    with torch.no_grad():
        for weight in edit.weights:
            weight.add_(0.3 * torch.randn(weight.shape))
    for _ in range(2):
        with edit.attach(lm):
            edited = lm.model(input_ids=TOKENS).logits.log_softmax(dim=-1)
            assert (edited.detach() - before).abs().max() > 1e-3
            (gradient, *_) = torch.autograd.grad(edited.square().mean(), list(edit.weights), allow_unused=True)
            assert gradient is not None
        assert log_probs(lm).equal(before)


def test_what_the_libraries_tell_developers_is_not_shown_to_users():
    lm = build_language_model("llama")
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        with PeftEdit.initial(lm, LORA).attach(lm):
            pass
