"""A real model packs at every row length, in float32 and in half precision."""

from dataclasses import replace

import pytest
import torch
import transformers as t
from tiny_models import headless

from lofit_cli.errors import RunError
from lofit_cli.models.embedded import embedded_model_dir
from lofit_cli.models.packing_check import choose_batching
from lofit_cli.models.packing_probe import make_probe


@pytest.fixture(scope="module")
def folder():
    try:
        return embedded_model_dir("smollm2")
    except RunError as error:
        pytest.skip(str(error))


def build(folder, dtype, max_row_tokens, num_layers):
    """Return the embedded model with its first layers only, so that long rows are quick."""
    model = t.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    model.model.layers = model.model.layers[:num_layers]
    model.config.num_hidden_layers = num_layers
    return replace(headless(model, max_row_tokens=max_row_tokens), tokenizer=t.AutoTokenizer.from_pretrained(folder))


@pytest.mark.parametrize("max_row_tokens", [512, 1024, 2048, 4096])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_embedded_model_packs_at_every_row_length(folder, dtype, max_row_tokens):
    lm = build(folder, dtype, max_row_tokens, num_layers=2)
    probe = make_probe(lm)
    row = [*probe.strangers, *probe.siblings, probe.follower]
    assert sum(len(sequence.tokens) for sequence in row) >= max_row_tokens
    assert choose_batching(lm) == "packed"


def test_the_whole_embedded_model_packs(folder):
    assert choose_batching(build(folder, torch.float32, 512, num_layers=30)) == "packed"
