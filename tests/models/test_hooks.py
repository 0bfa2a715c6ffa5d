"""What goes into a module and comes out of it is seen and changed in whatever form a family passes it on."""

import pytest
import torch
from making import make
from tiny_models import build_language_model
from torch import nn

from lofit_cli.errors import UserError
from lofit_cli.interventions.residual_edit import DirectionEdit
from lofit_cli.models.activations import last_token_hidden_states
from lofit_cli.models.hooks import hooked_call, hooked_input, hooked_layer, hooked_output, untuple
from lofit_cli.models.packing import TokenSequence

TOKENS = tuple(range(3, 15))


class Returning(nn.Module):
    """Returns its input in a form of someone's choice."""

    def __init__(self, form):
        super().__init__()
        self.form = form

    def forward(self, values, scale=1):
        return self.form(values * scale)


FORMS = {"alone": lambda v: v, "tuple": lambda v: (v, "rest"), "list": lambda v: [v, "rest"], "one": lambda v: (v,)}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_first_of_several_outputs_is_changed_and_the_form_kept(form):
    module, values = Returning(form), torch.ones(1, 2, 3)
    with hooked_output(module, lambda output: output + 1):
        output = module(values)
    assert type(output) is type(form(values))
    assert untuple(output).equal(values + 1)
    if form is not FORMS["alone"]:
        assert output[1:] == form(values)[1:]
    assert untuple(module(values)).equal(values)


@pytest.mark.parametrize("form", [lambda v: None, lambda v: {"hidden": v}, lambda v: (), lambda v: (None, v)])
def test_an_output_of_another_kind_is_refused_in_a_sentence(form):
    module = Returning(form)
    with hooked_output(module, lambda output: None), pytest.raises(UserError, match="can't be edited"):
        module(torch.ones(1, 2, 3))


def test_a_hook_that_returns_nothing_changes_nothing():
    module, values, seen = Returning(FORMS["tuple"]), torch.ones(1, 2, 3), []
    with hooked_output(module, seen.append), hooked_input(module, seen.append), hooked_call(module, seen.append):
        output, rest = module(values, scale=2)
    assert output.equal(2 * values)
    assert rest == "rest"
    entered, called, left = seen
    assert called == {"scale": 2}
    assert entered.equal(values)
    assert left.equal(2 * values)


def test_an_input_is_changed():
    with hooked_input(module := Returning(FORMS["alone"]), lambda values: values + 1):
        assert module(torch.zeros(1, 1, 2)).equal(torch.ones(1, 1, 2))


@pytest.mark.parametrize("shape", [(4, 1, 2, 3), (2, 3)])
def test_a_layer_with_more_streams_than_one_is_refused(shape):
    module = Returning(FORMS["alone"])
    with hooked_layer(module, lambda hidden: hidden), pytest.raises(UserError, match="not one residual stream"):
        module(torch.ones(shape))


def test_hooks_are_gone_after_an_exception():
    def fail(*args):
        raise RuntimeError("midway")

    module = Returning(FORMS["alone"])
    for hooked in (hooked_call, hooked_input, hooked_output, hooked_layer):
        with pytest.raises(RuntimeError, match="midway"), hooked(module, fail):
            module(torch.ones(1, 2, 3))
    assert not module._forward_hooks
    assert not module._forward_pre_hooks


def test_hidden_states_are_found_where_layers_return_a_list():
    lm = build_language_model("openai_gpt", batching="padded")
    found = last_token_hidden_states(lm, [TokenSequence(TOKENS, 5)])
    with torch.no_grad():
        states = lm.model(input_ids=torch.tensor([TOKENS]), output_hidden_states=True).hidden_states[1:]
    torch.testing.assert_close(found[0], torch.stack([layer[0, -1] for layer in states]))


def test_a_direction_is_added_where_layers_return_a_list():
    lm = build_language_model("openai_gpt", batching="padded")
    vector = torch.randn(32, generator=torch.Generator().manual_seed(0))
    sequences = [TokenSequence(TOKENS, 5)]
    before = last_token_hidden_states(lm, sequences)
    with DirectionEdit(vector, 2, "all").attach(lm):
        seen = []
        with hooked_output(lm.layers[2], seen.append), torch.no_grad():
            lm.model(input_ids=torch.tensor([TOKENS]))
    torch.testing.assert_close(seen[0][0, -1], before[0, 2] + vector)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("caa", {}), ("repe", {}), ("repe", {"vector": "contrast", "layers": [0, 1]}), ("loreft", {})],
)
def test_several_streams_are_refused_by_methods_of_the_residual_stream(name, settings, tmp_path):
    lm = build_language_model("gemma3n", batching="padded")
    with pytest.raises(UserError, match="not one residual stream"):
        make(name, lm, tmp_path, **settings)


@pytest.mark.parametrize("name", ["lofit", "iti", "red", "bitfit"])
@pytest.mark.parametrize("family", ["gemma3n", "openai_gpt"])
def test_methods_of_heads_and_maps_take_either(family, name, tmp_path):
    assert make(name, build_language_model(family, batching="padded"), tmp_path).num_parameters
