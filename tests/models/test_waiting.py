"""How often the host waits for the device: each wait lets a GPU run dry.

On a CPU nothing waits, so what would is counted: what takes a number, or a shape, from a tensor's values, and what
moves a tensor to the host. What `pack_row` and `seen_keys` do to lay a row out is the host's own work.
"""

import sys
from collections import Counter

import pytest
import torch
from making import make_task
from tiny_models import build_language_model, edit_all_heads, random_values
from torch.utils._python_dispatch import TorchDispatchMode

from lofit_cli.models.logprobs import answer_logprobs, score_answers, tokenize
from lofit_cli.schema.components import TrainerConfig
from lofit_cli.sharing import share_out
from lofit_cli.training.descent import Descent
from lofit_cli.training.objective import Objective

aten = torch.ops.aten
WAITING = {aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default, aten.equal.default}
OF_THE_HOST = {"pack_row", "seen_keys", "bincount", "randperm", "tokenize_items"}
ITEMS = [(f"Q: which number is {i}?\nA:", [" the number 7", " the answer", f" {i}"]) for i in range(9)]


class Waits(TorchDispatchMode):
    """Counts what would wait for a GPU, by the function of ours that it happens in."""

    def __init__(self, monkeypatch):
        super().__init__()
        self.found, self.monkeypatch = Counter(), monkeypatch

    def __enter__(self):
        to_host = torch.Tensor.cpu

        def watched(tensor):
            self.note("cpu")
            return to_host(tensor)

        self.monkeypatch.setattr(torch.Tensor, "cpu", watched)
        return super().__enter__()

    def __exit__(self, *stopped):
        self.monkeypatch.undo()
        return super().__exit__(*stopped)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function in WAITING:
            self.note(str(function))
        return function(*args, **kwargs or {})

    def note(self, what):
        names, frame = [], sys._getframe(2)
        while frame:
            if "lofit_cli" in frame.f_code.co_filename:
                names.append(frame.f_code.co_name)
            frame = frame.f_back
        if names and not OF_THE_HOST.intersection(names):
            self.found[f"{what} in {names[0]}"] += 1


@pytest.fixture
def waits(monkeypatch):
    return Waits(monkeypatch)


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_a_forward_pass_waits_for_nothing(family, waits):
    lm = build_language_model(family, max_row_tokens=4096)
    sequences = [sequence for item in tokenize(lm, ITEMS) for sequence in item]
    edit = edit_all_heads(random_values(lm.geometry, 1), random_values(lm.geometry, 2))
    with edit.attach(lm), waits:
        answer_logprobs(lm, sequences).sum().backward()
    assert waits.found == {}


def test_scoring_waits_once_a_row_whatever_is_in_it(waits):
    lm = build_language_model("llama", max_row_tokens=100)
    with waits:
        score_answers(lm, ITEMS)
    rows = waits.found["cpu in _fetch"]
    assert 1 < rows < len(ITEMS)
    assert set(waits.found) == {"cpu in _fetch"}


def test_a_training_step_waits_for_its_loss_and_its_gradients_norm_and_nothing_else(waits):
    lm, trainer = build_language_model("llama", max_row_tokens=64), TrainerConfig(l1=1e-3)
    objective = Objective(lm, make_task(), 0.5)
    items = objective.prepare("train")
    edit = edit_all_heads(random_values(lm.geometry, 1))
    descent = Descent(edit, trainer, 10)
    with edit.attach(lm):
        descent.find_gradient(lambda: objective.loss(items, backward=True))
        descent.move()
        with waits:
            descent.find_gradient(lambda: objective.loss(items, backward=True))
            descent.move()
    assert waits.found == {
        "cpu in losses": 1,
        "aten._local_scalar_dense.default in take_gradient": 1,
        "aten._local_scalar_dense.default in _penalty": 1,
        # Of a number of steps, which AdamW keeps on the host.
        "aten._local_scalar_dense.default in move": 1,
    }


def test_a_row_is_fetched_once_the_next_one_is_under_way():
    told = []

    def launch(part):
        told.append(f"launch {part}")
        return lambda: told.append(f"fetch {part}") or part

    assert list(share_out([1, 2, 3], launch, None, None)) == [(1, 1), (2, 2), (3, 3)]
    assert told == ["launch 1", "launch 2", "fetch 1", "launch 3", "fetch 2", "fetch 3"]
