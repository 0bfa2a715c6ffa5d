"""Edits trained side by side against each of them trained alone."""

import json
from dataclasses import replace

import pytest
import torch
from making import make_task, training_config
from tiny_models import EACH_FAMILY, build_language_model, random_values

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.errors import RunError
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.interventions.side_by_side import attached_side_by_side
from lofit_cli.models.logprobs import answer_logprobs, copied_logprobs, tokenize
from lofit_cli.schema.components import TrainerConfig
from lofit_cli.training.side_by_side import num_together, train_side_by_side
from lofit_cli.training.trainer import train

HEADS = [[(2, 1), (2, 3)], [(0, 0), (1, 2)], [(1, 1), (2, 0)]]
ITEMS = [("Q: which number is it?\nA:", [" the number 7", " the answer"]), ("Q: and?\nA:", [" No", " 8"])]


def edits(lm, **parts):
    """Return an edit of two heads for each pair, whose parts are random numbers."""
    found = []
    for number, heads in enumerate(HEADS):
        mask = torch.zeros(lm.geometry.num_layers, lm.geometry.max_heads, dtype=torch.bool)
        mask[tuple(zip(*heads, strict=True))] = True
        values = {name: random_values(lm.geometry, seed + number, 0.2)[mask] for name, seed in parts.items()}
        found.append(HeadEdit(lm.geometry, mask, **values))
    return found


@pytest.mark.parametrize("parts", [{"offset": 1}, {"scale": 5}, {"offset": 1, "scale": 5}], ids="+".join)
@pytest.mark.parametrize("family", EACH_FAMILY)
def test_each_copy_of_a_row_has_its_own_edit_and_gradient(family, parts):
    lm = build_language_model(family)
    sequences = [sequence for item in tokenize(lm, ITEMS) for sequence in item]
    together, alone = edits(lm, **parts), edits(lm, **parts)
    with attached_side_by_side(together, lm):
        found = copied_logprobs(lm, sequences, len(together))
        found.square().sum().backward()
    for values, one, other in zip(found, together, alone, strict=True):
        with other.attach(lm):
            expected = answer_logprobs(lm, sequences)
            expected.square().sum().backward()
        torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-5)
        for parameter, by_itself in zip(one.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(parameter.grad, by_itself.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("keep", ["last", "best"])
def test_training_side_by_side_is_training_one_by_one(keep, tmp_path):
    lm = replace(build_language_model("llama"), max_row_tokens=64)
    trainer = TrainerConfig(learning_rate=0.3, l1=1e-3, num_epochs=4, batch_size=3, keep=keep, validate_every=2)
    config, together = training_config(trainer, seed=3), edits(lm, offset=1)
    train_side_by_side(together, lm, make_task(), config, "together")
    for number, (edit, before) in enumerate(zip(together, edits(lm, offset=1), strict=True)):
        alone = edits(lm, offset=1)[number]
        (tmp_path / str(number)).mkdir()
        train(alone, lm, make_task(), config, RunDir(tmp_path / str(number), "train_offsets"))
        torch.testing.assert_close(edit.offset, alone.offset, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(edit.offset, before.offset, rtol=1e-2, atol=1e-2)


def test_the_best_is_kept_for_each_alone(tmp_path):
    lm, task = build_language_model("llama"), make_task()
    trainer = TrainerConfig(learning_rate=10.0, num_epochs=6, batch_size=2, keep="best")
    best_epochs = []
    for number, edit in enumerate(edits(lm, offset=1)):
        (tmp_path / str(number)).mkdir()
        train(edit, lm, task, training_config(trainer), RunDir(tmp_path / str(number), "train_offsets"))
        lines = (tmp_path / str(number) / "validation.jsonl").read_text().splitlines()
        losses = [json.loads(line)["loss"] for line in lines]
        best_epochs.append(losses.index(min(losses)))
    together, alone = edits(lm, offset=1), edits(lm, offset=1)
    train_side_by_side(together, lm, task, training_config(trainer), "together")
    for edit in alone:
        train_side_by_side([edit], lm, task, training_config(trainer), "alone")
    assert len(set(best_epochs)) > 1, "the test needs edits whose best epochs differ"
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one.offset, other.offset, rtol=1e-3, atol=1e-3)


def test_one_that_is_no_longer_finite_ends_all():
    lm = build_language_model("llama")
    together = edits(lm, offset=1)
    together[1].offset.data[0, 0] = torch.inf
    with pytest.raises(RunError, match="no longer finite at step 1"):
        train_side_by_side(together, lm, make_task(), training_config(TrainerConfig()), "together")


def test_as_many_stand_side_by_side_as_a_forward_pass_has_tokens_for():
    task = make_task()
    counts = [num_together(build_language_model("llama", max_row_tokens=n), task, 4) for n in (64, 1024, 4096)]
    assert counts[0] == 1 < counts[1] < counts[2] <= 4 * counts[1] + 4
    assert num_together(build_language_model("llama", batching="padded", max_row_tokens=4096), task, 4) == 1


@pytest.mark.parametrize("answer", ["an error", "one copy for all"])
def test_a_model_that_makes_no_copies_trains_one_by_one(answer):
    lm = build_language_model("llama", max_row_tokens=4096)

    def refuse(module, args):
        if answer == "an error" and len(args[0]) > 1:
            raise RuntimeError("one row at most")
        return (args[0][:1].roll(1, dims=1).expand_as(args[0]), *args[1:]) if len(args[0]) > 1 else None

    assert num_together(lm, make_task(), 4) > 1
    lm.layers[1].register_forward_pre_hook(refuse)
    assert num_together(lm, make_task(), 4) == 1
