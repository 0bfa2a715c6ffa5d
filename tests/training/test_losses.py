"""The losses against plain Python and against the libraries' own."""

from math import exp, log

import pytest
import torch

from lofit_cli.training.losses import dpo_loss


def plain_dpo(log_probs, reference, num_chosen, beta):
    losses = [
        -log(1 / (1 + exp(-beta * ((log_probs[c] - reference[c]) - (log_probs[r] - reference[r])))))
        for c in range(num_chosen)
        for r in range(num_chosen, len(log_probs))
    ]
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("count", "num_chosen"), [(2, 1), (5, 2)])
def test_equals_plain_python(count, num_chosen):
    generator = torch.Generator().manual_seed(count)
    log_probs, reference = (-10 * torch.rand(count, generator=generator) for _ in range(2))
    expected = plain_dpo(log_probs.tolist(), reference.tolist(), num_chosen, 0.5)
    assert float(dpo_loss(log_probs, reference, num_chosen, 0.5)) == pytest.approx(expected, rel=1e-5)


def test_gradient_raises_the_chosen_and_lowers_the_rejected():
    log_probs = torch.tensor([-3.0, -2.0], requires_grad=True)
    loss = dpo_loss(log_probs, log_probs.detach(), 1, 0.5)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(log(2))
    assert log_probs.grad.tolist() == pytest.approx([-0.25, 0.25])
