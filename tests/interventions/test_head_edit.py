"""The edit is LoFiT's equation at the input of the output projection, in every family, and leaves no trace."""

import pytest
import torch
from tiny_models import EACH_FAMILY, build_language_model, edit_all_heads, random_values
from transformers.pytorch_utils import Conv1D

from lofit_cli.errors import UserError
from lofit_cli.interventions.demonstrations import Demonstrations
from lofit_cli.interventions.head_edit import HeadEdit

TOKENS = torch.arange(3, 15)[None]


@pytest.fixture(params=EACH_FAMILY)
def lm(request):
    return build_language_model(request.param)


def logits(lm):
    with torch.no_grad():
        return lm.model(input_ids=TOKENS).logits


def record_projection(lm, layer):
    """Run the model and return what goes into and comes out of a layer's output projection."""
    seen = {}

    def keep(module, args, output):
        seen.update(input=args[0].clone(), output=output.clone())

    handle = lm.output_projections[layer].register_forward_hook(keep)
    logits(lm)
    handle.remove()
    return seen["input"], seen["output"]


def project(projection, values):
    weight = projection.weight.T if isinstance(projection, Conv1D) else projection.weight
    return torch.nn.functional.linear(values, weight, projection.bias)


def test_positions_that_are_not_known_are_refused():
    with pytest.raises(UserError, match=r"positions=anwser is not known; did you mean 'answer'"):
        edit_all_heads(offset=torch.zeros(3, 4, 8), positions="anwser")


def test_zero_edit_is_bit_identical(lm):
    zeros = torch.zeros_like(random_values(lm.geometry, 0))
    base = logits(lm)
    with edit_all_heads(scale=zeros, offset=zeros).attach(lm):
        assert logits(lm).equal(base)
    with Demonstrations().attach(lm):
        assert logits(lm).equal(base)


@pytest.mark.parametrize("layer", range(3))
def test_edit_is_the_equation_by_hand(lm, layer):
    scale, offset = random_values(lm.geometry, 1), random_values(lm.geometry, 2)
    activation, _ = record_projection(lm, layer)
    heads = activation.view(1, -1, lm.geometry.max_heads, lm.geometry.head_dim)
    expected = project(lm.output_projections[layer], ((1 + scale[layer]) * heads + offset[layer]).flatten(2))
    with edit_all_heads(scale, offset, layers=[layer]).attach(lm):
        _, output = record_projection(lm, layer)
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)


def test_every_layer_is_edited_unless_told_otherwise(lm):
    with edit_all_heads(offset=random_values(lm.geometry, 1)).attach(lm):
        assert all(projection._forward_pre_hooks for projection in lm.output_projections.values())


def test_heads_outside_the_mask_are_left_alone(lm):
    mask = torch.zeros(3, 4, dtype=torch.bool)
    mask[1, 2] = True
    before, _ = record_projection(lm, 1)
    with HeadEdit(lm.geometry, mask, offset=torch.ones(1, lm.geometry.head_dim)).attach(lm):
        after, _ = record_projection(lm, 1)
        assert not lm.output_projections[0]._forward_pre_hooks
    changed = (after - before).view(1, -1, 4, lm.geometry.head_dim).abs().sum(dim=(0, 1, 3)) > 0
    assert changed.tolist() == [False, False, True, False]


def test_hooks_are_gone_after_an_exception(lm):
    base = logits(lm)

    def fail_inside():
        with edit_all_heads(random_values(lm.geometry, 1)).attach(lm):
            assert not logits(lm).equal(base)
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        fail_inside()
    assert not [module for module in lm.model.modules() if module._forward_pre_hooks]
    assert logits(lm).equal(base)


def test_generate_agrees_with_and_without_a_cache(lm):
    options = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    base = lm.model.generate(TOKENS, **options)
    with edit_all_heads(offset=random_values(lm.geometry, 3, size=1.0)).attach(lm):
        cached = lm.model.generate(TOKENS, use_cache=True, **options)
        plain = lm.model.generate(TOKENS, use_cache=False, **options)
    assert cached.equal(plain)
    assert not cached.equal(base)


def test_every_position_is_edited(lm):
    base = logits(lm)
    with edit_all_heads(offset=random_values(lm.geometry, 3)).attach(lm):
        assert ((logits(lm) - base).abs().amax(dim=-1) > 1e-4).all()


def test_gradients_reach_the_kept_heads_only():
    lm = build_language_model("llama")
    everywhere = edit_all_heads(offset=random_values(lm.geometry, 1))
    mask = torch.zeros(3, 4, dtype=torch.bool)
    mask[0, 1] = mask[2, 3] = True
    selected = edit_all_heads(offset=random_values(lm.geometry, 1))
    some = HeadEdit(lm.geometry, mask, offset=random_values(lm.geometry, 1)[mask])
    with torch.no_grad():
        everywhere.offset[~mask.flatten()] = selected.offset[~mask.flatten()] = 0
    for edit in (everywhere, some):
        with edit.attach(lm):
            lm.model(input_ids=TOKENS).logits.square().sum().backward()
    assert some.num_parameters == 2 * 8
    torch.testing.assert_close(some.offset.grad, everywhere.offset.grad[mask.flatten()])


def test_a_small_scale_is_not_lost_in_bfloat16():
    lm = build_language_model("llama")
    lm.model.to(torch.bfloat16)
    edit = edit_all_heads(scale=torch.full((3, 4, 8), 1e-3))
    with edit.attach(lm):
        lm.model(input_ids=TOKENS).logits.float().sum().backward()
    assert edit.scale.grad.abs().min() > 0
