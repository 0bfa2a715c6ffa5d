"""Exporting edits of random numbers from tiny checkpoints, and proving them without a new process each time."""

from contextlib import contextmanager

import peft
import torch

from lofit_cli.exports import load_and_run, proof
from lofit_cli.exports.targets import plan_export
from lofit_cli.exports.write import Base, observe_both, write_and_prove
from lofit_cli.interventions.bias_edit import BiasEdit
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.interventions.peft_edit import PeftEdit
from lofit_cli.interventions.residual_edit import DirectionEdit
from lofit_cli.interventions.weights_edit import WeightsEdit
from lofit_cli.models.load import load_model
from lofit_cli.schema.sources import ModelConfig

LAYER = 1
ADAPTERS = {
    "lora": {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": "all-linear"},
    "ia3": {"peft_type": "IA3", "target_modules": "all-linear", "feedforward_modules": []},
}


@contextmanager
def in_this_process():
    """Let proofs load what was exported here: a new process takes seconds, and imports the same transformers."""
    started = proof.start_process
    proof.start_process = load_and_run.main
    try:
        yield
    finally:
        proof.start_process = started


def _random(*shape, seed, size=0.5):
    return size * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def head_edit(lm, parts=("scale", "offset"), positions="all"):
    """Return an edit of about half of the heads."""
    every_head = lm.geometry.every_head()
    mask = every_head & (torch.rand(every_head.shape, generator=torch.Generator().manual_seed(5)) < 0.5)
    shape = int(mask.sum()), lm.geometry.head_dim
    values = {part: _random(*shape, seed=seed) for seed, part in enumerate(("scale", "offset")) if part in parts}
    return HeadEdit(lm.geometry, mask, **values, positions=positions)


def direction_edit(lm, layer=LAYER, positions="all"):
    return DirectionEdit(_random(lm.hidden_size, seed=2, size=1.0), layer, positions)


def bias_edit(lm):
    edit = BiasEdit.zero(lm)
    for seed, bias in enumerate(edit.biases):
        bias.data = _random(len(bias), seed=seed, size=0.1)
    return edit


def peft_edit(lm, name="lora"):
    torch.manual_seed(0)
    edit = PeftEdit.initial(lm, ADAPTERS[name])
    for seed, weight in enumerate(edit.weights):
        weight.data += _random(*weight.shape, seed=seed, size=0.2)
    return edit


def weights_edit(lm):
    edit = WeightsEdit.copy_of(lm)
    for seed, weight in enumerate(edit.weights):
        weight.data += _random(*weight.shape, seed=seed, size=0.02)
    return edit


EDITS = {
    "offset": lambda lm: head_edit(lm, ("offset",)),
    "scale": lambda lm: head_edit(lm, ("scale",)),
    "scale and offset": head_edit,
    "direction": direction_edit,
    "bitfit": bias_edit,
    "lora": peft_edit,
    "full": weights_edit,
}


def load(source):
    return load_model(ModelConfig(str(source), dtype="float32", device="cpu"))


def export_edit(source, make_edit, to, folder, dtype="float32"):
    """Export an edit of a checkpoint into a folder; return its plan and what was proven."""
    lm = load(source)
    edit = make_edit(lm)
    plan_export(lm, edit, to)
    seen = observe_both(lm, edit)
    plan = plan_export(lm, edit, to)
    folder.mkdir()
    with in_this_process():
        return plan, write_and_prove(lm, plan, seen, folder, Base(str(source)), dtype)


def stock_peft(source, folder):
    """Return what the stock peft library makes of a base and an adapter."""
    return peft.PeftModel.from_pretrained(load(source).model, folder).eval()
