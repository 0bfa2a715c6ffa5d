"""Head activations equal what each layer's output projection gets for a sequence on its own."""

import pytest
import torch
from tiny_models import EACH_FAMILY, build_language_model

from lofit_cli.models.activations import last_token_activations
from lofit_cli.models.logprobs import tokenize

ITEMS = [("Q: one?\nA:", [" Yes.", " Yes, it is."]), ("Q: another, longer question?\nA:", [" the number"])]


@pytest.mark.parametrize("family", EACH_FAMILY)
def test_activations_are_those_of_each_sequence_alone(family):
    lm = build_language_model(family)
    sequences = [sequence for item in tokenize(lm, ITEMS) for sequence in item]
    found = last_token_activations(lm, sequences)
    geometry = lm.geometry
    assert found.shape == (3, geometry.num_layers, geometry.max_heads, geometry.head_dim)
    for row, sequence in zip(found, sequences, strict=True):
        torch.testing.assert_close(row.flatten(1), _alone(lm, sequence.tokens), atol=1e-5, rtol=1e-4)


def _alone(lm, tokens):
    """Return the last token's activations (num_layers, heads_per_layer * head_dim) of one sequence."""
    inputs = []
    handles = [
        p.register_forward_pre_hook(lambda _, args: inputs.append(args[0])) for p in lm.output_projections.values()
    ]
    lm.model(input_ids=torch.tensor([tokens]))
    for handle in handles:
        handle.remove()
    return torch.stack([values[0, -1] for values in inputs])


def test_no_hook_is_left():
    lm = build_language_model("llama")
    last_token_activations(lm, tokenize(lm, ITEMS)[0])
    assert not any(projection._forward_pre_hooks for projection in lm.output_projections.values())
