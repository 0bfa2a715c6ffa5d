"""Training that leaves a higher validation loss than the base model has says so, with the two numbers."""

import math
import re

import pytest
import torch
from making import training_config
from tiny_models import build_language_model, edit_all_heads

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.schema.components import TrainerConfig
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks.forms.generation import GenerationTask, OpenItem
from lofit_cli.tasks.forms.preference import PairsTask, PreferenceItem
from lofit_cli.training.trainer import train

NOTE = re.compile(r"training made the validation loss worse, (\S+) where the base model has (\S+); lower (.*)")
WORDS = (" the", " number", " answer", " No", " Yes", " is", " question", " and")
PAIRS = [PreferenceItem(str(i), "", f"Q: number {i}? A:", " Yes", " No") for i in range(3)]
SWAPPED = [PreferenceItem(str(i), "", f"Q: number {i}? A:", " No", " Yes") for i in range(3)]


def note_of(task, folder, capsys, **trainer):
    """Return what training tells of its validation loss: (kept, base, advice), or nothing."""
    lm = build_language_model("llama")
    edit = edit_all_heads(offset=torch.zeros(3, 4, 8))
    config = training_config(TrainerConfig(batch_size=1, **trainer), seed=0)
    train(edit, lm, task, config, RunDir(folder, "train_offsets"))
    return NOTE.findall(" ".join(capsys.readouterr().err.split()))


def answered(word):
    """Return three questions that are all answered by a word."""
    return [OpenItem(str(i), "", f"Q: number {i}? A:", word, (word,), " 8") for i in range(3)]


def cross_entropy(lm, items):
    """Mean over the tokens of all answers, from the plain model."""
    lost, num_tokens = 0.0, 0
    for item in items:
        prompt, full = (lm.tokenizer(text)["input_ids"] for text in (item.text, item.text + item.answer))
        tokens = torch.tensor([full])
        with torch.no_grad():
            log_probs = lm.model(tokens).logits[0].log_softmax(dim=-1)
        said = range(len(prompt), tokens.shape[1])
        lost -= sum(float(log_probs[i - 1, tokens[0, i]]) for i in said)
        num_tokens += len(said)
    return lost / num_tokens


def test_a_preference_learnt_the_wrong_way_round_is_told(tmp_path, capsys):
    task = PairsTask(TaskConfig("t"), {"train": PAIRS, "validation": SWAPPED})
    ((kept, base, advice),) = note_of(task, tmp_path, capsys, learning_rate=0.1, num_epochs=3)
    assert float(base) == pytest.approx(math.log(2), rel=1e-3)
    assert float(kept) > float(base)
    assert advice.startswith("trainer.learning_rate=0.1")
    assert "keep=best" not in advice


def test_an_absurd_rate_is_told_with_the_loss_of_the_plain_model(tmp_path, capsys):
    lm = build_language_model("llama")
    # What the model itself finds likely becomes less so under any large edit.
    own = min((answered(word) for word in WORDS), key=lambda items: cross_entropy(lm, items))
    task = GenerationTask(TaskConfig("t", append_eos=False), {"train": answered(" 8 7"), "validation": own})
    ((kept, base, advice),) = note_of(task, tmp_path, capsys, learning_rate=1e6, num_epochs=1)
    assert float(base) == pytest.approx(cross_entropy(lm, own), rel=1e-3)
    assert float(kept) > float(base)
    assert advice.startswith("trainer.learning_rate=1e+06")


@pytest.mark.parametrize("rate", [1e-30, 1e-2])
def test_training_that_helps_or_does_nothing_says_nothing(tmp_path, capsys, rate):
    task = PairsTask(TaskConfig("t"), {"train": PAIRS, "validation": PAIRS})
    assert note_of(task, tmp_path, capsys, learning_rate=rate, num_epochs=2) == []
