"""One step of training against the same loss by the model's own forward pass."""

import json

import pytest
import torch
from making import training_config
from tiny_models import EACH_FAMILY, build_language_model, edit_all_heads, random_values

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.schema.components import TrainerConfig
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks.forms.generation import GenerationTask, OpenItem
from lofit_cli.training.trainer import train

ITEMS = [
    OpenItem("a", "", "Q: which number? A:", " the number 7", ("7",), " 8"),
    OpenItem("b", "", "Q: another? A:", " No", ("No",), " Yes"),
    OpenItem("c", "", "Q: a third question? A:", " answer", ("answer",), " x"),
]


def cross_entropy_by_hand(lm, edit):
    """Mean over all answer tokens, and the end of sequence, of a batch, as Hugging Face's own loss takes it."""
    rows = []
    for item in ITEMS:
        prompt, full = (lm.tokenizer(text)["input_ids"] for text in (item.text, item.text + item.answer))
        ids = [*full, lm.tokenizer.eos_token_id]
        rows.append((ids, [-100] * len(prompt) + ids[len(prompt) :]))
    longest = max(len(ids) for ids, _ in rows)
    tokens = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in rows])
    labels = torch.tensor([label + [-100] * (longest - len(label)) for _, label in rows])
    attended = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in rows])
    with edit.attach(lm):
        return lm.model(input_ids=tokens, attention_mask=attended, labels=labels).loss


@pytest.mark.parametrize("max_row_tokens", [20, 1000])
@pytest.mark.parametrize("family", EACH_FAMILY)
def test_sft_is_the_cross_entropy_of_the_answers_tokens(family, max_row_tokens, tmp_path):
    lm = build_language_model(family, max_row_tokens=max_row_tokens)
    task = GenerationTask(TaskConfig("t", append_eos=True), {"train": ITEMS, "validation": ITEMS})
    edit = edit_all_heads(offset=random_values(lm.geometry, 1))
    expected = cross_entropy_by_hand(lm, edit)
    (gradient,) = torch.autograd.grad(expected, edit.offset)
    trainer = TrainerConfig(learning_rate=1e-30, num_epochs=1, max_grad_norm=1e9)
    run = RunDir(tmp_path, "train_offsets")
    train(edit, lm, task, training_config(trainer, seed=0), run)
    step = json.loads((tmp_path / "history.jsonl").read_text())
    assert step["loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert step["gradient_norm"] == pytest.approx(float(gradient.norm()), rel=1e-4)
    assert json.loads((tmp_path / "validation.jsonl").read_text())["loss"] == pytest.approx(expected.item(), rel=1e-5)
