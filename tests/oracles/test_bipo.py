"""BiPO's loss: DPO of the vector under one sign, and its mirror image under the other."""

import json
import math

import pytest
import torch
from making import make, make_task, training_config
from tiny_models import build_language_model

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.errors import UserError
from lofit_cli.interventions.residual_edit import DirectionEdit, NulledDirection, SignedDirection
from lofit_cli.schema.components import TrainerConfig
from lofit_cli.tasks.forms.truthfulqa import TruthfulQATask
from lofit_cli.training.losses import reps_loss
from lofit_cli.training.objective import Objective
from lofit_cli.training.trainer import train


def prepared(family="llama"):
    lm = build_language_model(family)
    objective = Objective(lm, make_task(), 0.1)
    return lm, objective, objective.prepare("train")


def loss_and_gradient(lm, objective, items, edit):
    with edit.attach(lm):
        loss = objective.loss(items, backward=True, sign=edit.sign)
    return loss, edit.vector.grad


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_signs_mirror_each_other(family):
    lm, objective, items = prepared(family)
    vector = torch.randn(lm.hidden_size, generator=torch.Generator().manual_seed(0))
    plain, added, taken = DirectionEdit(vector, 1, "all"), *(SignedDirection(vector.clone(), 1, "all") for _ in "ab")
    taken.sign = -1
    # With the sign +1 it is DPO on the vector, which test_trl.py holds beside TRL.
    expected, gradient = loss_and_gradient(lm, objective, items, plain)
    assert loss_and_gradient(lm, objective, items, added)[0] == expected
    # With -1 the vector is taken away, and chosen answers are to become less likely.
    reversed_loss, reversed_gradient = loss_and_gradient(lm, objective, items, taken)
    opposite = DirectionEdit(-vector, 1, "all")
    with opposite.attach(lm):
        mirrored = objective.loss(items, sign=-1)
    assert reversed_loss == pytest.approx(mirrored, abs=1e-6)
    assert not torch.allclose(reversed_gradient, gradient)


def test_a_vector_of_zeros_has_the_loss_log_2():
    lm, objective, items = prepared()
    for sign in (1, -1):
        edit = SignedDirection(torch.zeros(lm.hidden_size), 1, "all")
        edit.sign = sign
        loss, gradient = loss_and_gradient(lm, objective, items, edit)
        assert loss == pytest.approx(math.log(2), abs=1e-6)
        assert gradient.abs().max() > 0


def test_both_signs_are_drawn_and_none_outside_training():
    edit = SignedDirection(torch.zeros(4), 1, "all").train()
    signs = []
    for step in range(40):
        edit.redraw(torch.Generator().manual_seed(step))
        signs += edit.signs
    assert 10 < signs.count(-1) < 30
    edit.sign = -1
    assert edit.eval().sign == 1


def test_steps_draw_signs(tmp_path, monkeypatch):
    found = []
    redraw = SignedDirection.redraw
    monkeypatch.setattr(SignedDirection, "redraw", lambda self, g: (redraw(self, g), found.append(self.signs)))
    make("bipo", build_language_model("llama"), tmp_path)
    assert len(found) == 1


def test_a_layer_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"method.layer=3 is not there; allowed: 0 to 2"):
        make("bipo", build_language_model("llama"), tmp_path, layer=3)


def test_a_task_without_wrong_answers_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(TruthfulQATask, "objective", "sft")
    with pytest.raises(UserError, match="method=bipo learns from pairs of right and wrong answers"):
        make("bipo", build_language_model("llama"), tmp_path)


@pytest.mark.parametrize("sign", [1, -1])
def test_reps_weighs_by_what_was_unlikely_and_divides_by_lengths(sign):
    log_probs, reference = torch.tensor([-4.0, -6.0, -3.0]), torch.tensor([-9.0, -5.0, -2.0])
    lengths, losses = torch.tensor([2.0, 3.0, 4.0]), []
    for chosen in (0, 1):
        wins, loses = (chosen, 2) if sign > 0 else (2, chosen)
        weight = max(float(reference[loses] - reference[wins]), 1.0)
        margin = weight / float(lengths[wins]) * float(log_probs[wins]) - float(log_probs[loses]) / float(
            lengths[loses]
        )
        losses.append(math.log1p(math.exp(-margin)))
    assert float(reps_loss(log_probs, reference, lengths, 2, sign)) == pytest.approx(sum(losses) / 2, abs=1e-6)


def test_reps_takes_out_what_there_is_of_its_vector(tmp_path):
    lm = build_language_model("llama")
    edit = NulledDirection(torch.tensor([3.0, 0.0] + 30 * [0.0]), 1, "all")
    hidden = torch.tensor([[[6.0, 1.0] + 30 * [0.5], [-6.0, 1.0] + 30 * [0.5]]])
    edit.sign = -1
    found = edit.change(lm, 1, hidden)
    assert found[0, :, 0].tolist() == [0.0, -6.0]
    assert found[..., 1:].equal(hidden[..., 1:])
    edit.sign = 1
    assert edit.change(lm, 1, hidden)[0, :, 0].tolist() == [9.0, -3.0]
    made = make("bipo", lm, tmp_path, loss="reps")
    assert made.kind == "direction_edit"
    assert made.vector.isfinite().all()


def test_the_validation_loss_of_reps_sums_both_directions_as_a_step_does(tmp_path):
    lm, task = build_language_model("llama"), make_task()
    task = task.with_items({"train": task.items("train"), "validation": task.items("train")})
    edit = NulledDirection(torch.randn(lm.hidden_size, generator=torch.Generator().manual_seed(0)), 1, "all")
    trainer = TrainerConfig(learning_rate=1e-30, num_epochs=1, batch_size=4)
    train(edit, lm, task, training_config(trainer), RunDir(tmp_path, "train_offsets"))
    assert edit.sign == 1
    step, look = (json.loads((tmp_path / name).read_text()) for name in ("history.jsonl", "validation.jsonl"))
    assert look["loss"] == pytest.approx(step["task_loss"], rel=1e-5)


def test_validation_looks_in_no_direction_that_was_drawn():
    edit = SignedDirection(torch.zeros(4), 0, "all")
    edit.signs = (-1,)
    assert edit.eval().signs == (1,)
