"""JoLA's gates and penalty in ten lines of NumPy, and the edits that open and shut gates leave."""

import math

import numpy as np
import pytest
import torch
from making import make
from tiny_models import EACH_FAMILY, build_language_model, random_values

from lofit_cli.errors import RunError
from lofit_cli.interventions.gated_head_edit import GatedHeadEdit
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.models.logprobs import answer_logprobs
from lofit_cli.models.packing import TokenSequence

SEQUENCES = [TokenSequence((*range(3, 12), 40, last), 9) for last in (41, 50)]


def gated(lm, logit):
    every = lm.geometry.every_head()
    values = [random_values(lm.geometry, seed)[every] for seed in (1, 2)]
    logits = torch.full((2, int(every.sum())), float(logit))
    return GatedHeadEdit(lm.geometry, every, *values, logits).eval()


def scores(lm, edit=None):
    if edit is None:
        return answer_logprobs(lm, SEQUENCES)
    with edit.attach(lm), torch.no_grad():
        return answer_logprobs(lm, SEQUENCES)


@pytest.mark.parametrize("family", EACH_FAMILY)
def test_open_gates_are_the_plain_edit_and_shut_ones_the_base_model(family):
    lm = build_language_model(family)
    opened = gated(lm, 20)
    plain = HeadEdit(lm.geometry, opened.head_mask, opened.scale.detach(), opened.offset.detach())
    torch.testing.assert_close(scores(lm, opened), scores(lm, plain), atol=1e-5, rtol=0)
    assert scores(lm, gated(lm, -20)).equal(scores(lm))


def test_gates_and_their_penalty_are_those_of_numpy():
    lm = build_language_model("llama")
    edit = gated(lm, 0)
    logits = np.random.default_rng(0).normal(0, 3, edit.gate_logits.shape)
    edit.gate_logits.data = torch.tensor(logits, dtype=torch.float32)
    uniform = torch.rand(logits.shape, generator=torch.Generator().manual_seed(7)).double().numpy()
    u = 1e-6 + (1 - 2e-6) * uniform

    def stretched(c):
        return np.clip(c * 1.2 - 0.1, 0, 1)

    in_use = stretched(1 / (1 + np.exp(-logits)))
    torch.testing.assert_close(edit.gates().detach().double(), torch.tensor(in_use), atol=1e-5, rtol=0)
    edit.train()
    edit.redraw(torch.Generator().manual_seed(7))
    drawn = stretched(1 / (1 + np.exp(-(np.log(u) - np.log(1 - u) + logits) / 0.33)))
    torch.testing.assert_close(edit.gates().detach().double(), torch.tensor(drawn), atol=1e-5, rtol=0)
    p = np.clip(1 / (1 + np.exp(-(logits - 0.33 * np.log(0.1 / 1.1)))), 1e-6, 1 - 1e-6).reshape(2, 3, 4)
    for step in (0, 50):
        weight = 0.1 * math.exp(-0.01 * step)
        expected = ((1 - weight) * p[0].mean(1).sum() + weight * p[1].mean(1).sum()) / 12
        assert float(edit.penalty(step)) == pytest.approx(expected, rel=1e-5)


def test_the_penalty_closes_the_scales_gates_rather_than_the_offsets():
    lm = build_language_model("llama")
    penalties = []
    for is_open in ([20.0, -20.0], [-20.0, 20.0]):
        edit = gated(lm, 0)
        edit.gate_logits.data = torch.tensor(is_open)[:, None].expand_as(edit.gate_logits).clone()
        penalties.append(float(edit.penalty(0)))
    # JoLA's trainer: lambda, 0.1 at first, of the offsets' gates (g1), 1 - lambda of the scales' (g2); 4 heads a layer.
    assert penalties == pytest.approx([0.9 / 4, 0.1 / 4], abs=1e-4)


def test_a_gate_is_open_as_often_as_is_said():
    lm = build_language_model("gpt2")
    edit = gated(lm, 0.5).train()
    generator, draws = torch.Generator().manual_seed(0), []
    for _ in range(10_000):
        edit.redraw(generator)
        draws.append((edit.gates() > 0).float().mean())
    assert float(torch.stack(draws).mean()) == pytest.approx(float(edit.open_probability()[0, 0]), abs=3e-3)


def test_what_is_saved_leaves_shut_heads_out_and_keeps_the_scores():
    lm = build_language_model("llama")
    edit = gated(lm, 0.3)
    edit.gate_logits.data[:, ::2] = -9
    folded = edit.folded()
    assert (type(folded), int(folded.head_mask.sum())) == (HeadEdit, 6)
    torch.testing.assert_close(scores(lm, folded), scores(lm, edit), atol=1e-5, rtol=0)


def test_every_step_draws_gates_of_its_own_and_a_run_that_goes_on_the_same(tmp_path):
    lm = build_language_model("llama")
    first, second = (make("jola", lm, tmp_path / name) for name in "ab")
    assert first.scale.equal(second.scale)
    assert type(first) is HeadEdit


def test_a_penalty_that_shuts_all_gates_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"method.strength=1e.06 has shut the gates of all heads"):
        make("jola", build_language_model("llama"), tmp_path, strength=1e6, rate=10.0)
