"""The tokens that an offset points at, against what the model itself does with it."""

import pytest
import torch
from tiny_models import build_language_model

from lofit_cli.errors import UserError
from lofit_cli.paper.logit_lens import logit_lens

HEADS = torch.tensor([[0, 1], [2, 3]])


def offsets(lm, seed=0):
    return torch.randn(2, lm.geometry.head_dim, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("final_norm", [False, True])
def test_against_the_slice_of_the_weights(final_norm):
    lm = build_language_model("llama")
    offset = offsets(lm)
    for row, (layer, head) in enumerate(HEADS.tolist()):
        slice_of_head = lm.model.model.layers[layer].self_attn.o_proj.weight[:, head * 8 : (head + 1) * 8]
        added = slice_of_head @ offset[row]
        if final_norm:
            added = lm.model.model.norm(added)
        expected = (lm.model.lm_head.weight @ added).softmax(dim=0).topk(10)
        found = logit_lens(lm, offset, HEADS, final_norm=final_norm)[row]
        assert (found.layer, found.head) == (layer, head)
        assert found.probabilities == pytest.approx(expected.values.tolist(), rel=1e-4)
        assert found.tokens == [lm.tokenizer.decode([token]) for token in expected.indices.tolist()]


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "opt", "gemma2", "olmo2"])
@pytest.mark.parametrize("final_norm", [False, True])
def test_other_families(family, final_norm):
    lm = build_language_model(family)
    small, large = (logit_lens(lm, size * offsets(lm), HEADS, 3, final_norm) for size in (1, 2))
    assert [head.tokens for head in small] == [head.tokens for head in large]
    assert all(0 < p < 1 for head in small for p in head.probabilities)


def test_a_bias_of_the_projection_is_not_read():
    lm = build_language_model("gpt2")
    torch.nn.init.normal_(lm.output_projections[0].bias)
    found = logit_lens(lm, torch.zeros(1, 8), torch.tensor([[0, 0]]))
    assert found[0].probabilities == pytest.approx([1 / 300] * 10)


def test_a_model_without_a_last_normalisation_is_refused():
    lm = build_language_model("llama")
    lm.model.model.norm = torch.nn.Identity()
    with pytest.raises(UserError, match="no normalisation after its layers"):
        logit_lens(lm, offsets(lm), HEADS, final_norm=True)
