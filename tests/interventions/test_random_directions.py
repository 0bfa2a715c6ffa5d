"""Random directions of the same lengths at the same places."""

import pytest
import torch
from exporting import EDITS, direction_edit, head_edit
from making import make
from tiny_models import build_language_model

from lofit_cli.interventions.random_directions import draw_null
from lofit_cli.interventions.residual_edit import DirectionsEdit


def test_offsets_keep_their_lengths_and_nothing_else(tmp_path):
    lm = build_language_model("llama")
    learnt = make("lofit", lm, tmp_path)
    drawn = make("random_offset", lm, tmp_path, source=str(tmp_path / "lofit"))
    null = draw_null(learnt, seed=42)
    torch.testing.assert_close(null.offset.norm(dim=-1), learnt.offset.norm(dim=-1))
    assert torch.cosine_similarity(null.offset, learnt.offset).abs().max() < 0.9
    assert torch.equal(null.head_mask, learnt.head_mask)
    # `method=random_offset` draws the same.
    torch.testing.assert_close(null.offset, drawn.offset)
    assert not torch.equal(draw_null(learnt, seed=43).offset, null.offset)


def test_a_scale_and_positions_stay():
    lm = build_language_model("llama")
    edit = head_edit(lm, positions="answer")
    null = draw_null(edit, seed=1)
    assert torch.equal(null.scale, edit.scale)
    assert null.positions == "answer"
    assert not torch.equal(null.offset, edit.offset)


def test_directions_of_one_layer_and_of_several():
    lm = build_language_model("llama")
    one = direction_edit(lm)
    several = DirectionsEdit(torch.randn(2, lm.hidden_size), [0, 2])
    for edit, name in ((one, "vector"), (several, "vectors")):
        before = getattr(edit, name).detach().clone()
        drawn = getattr(draw_null(edit, seed=1), name)
        torch.testing.assert_close(drawn.norm(dim=-1), before.norm(dim=-1))
        assert torch.cosine_similarity(drawn, before, dim=-1).abs().max() < 0.9
        assert torch.equal(getattr(edit, name), before)


@pytest.mark.parametrize("name", ["lora", "full", "bitfit", "scale"])
def test_an_edit_that_adds_no_vectors_has_none(name):
    assert draw_null(EDITS[name](build_language_model("llama")), seed=1) is None
