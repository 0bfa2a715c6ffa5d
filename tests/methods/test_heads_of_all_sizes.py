"""Selectors and methods where some layers have no heads, fewer or larger ones."""

import pytest
import torch
from making import make, make_task
from tiny_checkpoints import build_architecture
from tiny_models import build_tokenizer

from lofit_cli.artifacts.geometry import Geometry
from lofit_cli.artifacts.head_mask import HeadMask, parse_num_heads, select_top
from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.interventions.files import load_intervention_file
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.models.activations import last_token_activations
from lofit_cli.models.heads import find_heads
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.models.logprobs import tokenize
from lofit_cli.paper.logit_lens import logit_lens
from lofit_cli.report.plots import plot_head_scores, plot_heads_per_layer
from lofit_cli.schema.components import SELECTOR_CONFIGS, SelectorConfig, TrainerConfig
from lofit_cli.schema.sources import EvalConfig, ModelConfig, TaskConfig
from lofit_cli.schema.stages import SelectHeadsConfig
from lofit_cli.selectors import SELECTORS, get_selector

GEOMETRIES = {
    "qwen3_next": Geometry((0, 0, 4, 4), (0, 0, 16, 16)),
    "gemma4_text": Geometry((4, 4, 4, 4), (16, 16, 24, 24)),
    "laguna": Geometry((4, 2, 4, 2), (16, 16, 16, 16)),
}
CHANGES = {"laguna": {"num_attention_heads_per_layer": [4, 2, 4, 2], "num_key_value_heads": 2}}
SELECTORS_OF_THEIR_OWN = sorted(set(SELECTORS) - {"file", "from_run"})


SOME_FAMILIES = ["qwen3_next", "gemma4_text", pytest.param("laguna", marks=pytest.mark.slow)]


@pytest.fixture(scope="module", params=SOME_FAMILIES)
def lm(request):
    changes = CHANGES.get(request.param, {}) | {"max_position_embeddings": 2048}
    model = build_architecture(request.param, **changes).requires_grad_(False)
    lm = LanguageModel("m", model, build_tokenizer(), *find_heads(model), "single")
    assert lm.geometry == GEOMETRIES[request.param]
    return lm


@pytest.mark.parametrize("name", SELECTORS_OF_THEIR_OWN)
def test_a_selector_ranks_the_heads_that_there_are(name, lm, tmp_path):
    trainer = TrainerConfig(learning_rate=0.01, num_epochs=1)
    config = SelectHeadsConfig(
        ModelConfig("m"), TaskConfig("t"), SELECTOR_CONFIGS.get(name, SelectorConfig)(name), trainer, EvalConfig()
    )
    run = RunDir(tmp_path, "select_heads")
    scores = get_selector(config.selector)(lm, make_task(), config, run)
    assert scores.shape == (lm.geometry.num_layers, lm.geometry.max_heads)
    assert scores[lm.geometry.every_head()].isfinite().all()
    if name == "scale":
        every_number = sum(count * dim for count, dim in zip(*vars(lm.geometry).values(), strict=True))
        assert run.facts["num_trained_parameters"] == every_number


@pytest.mark.parametrize("name", ["lofit", "iti", "red", "random_offset"])
def test_a_method_changes_the_numbers_of_its_heads_and_no_others(name, lm, tmp_path):
    edit = make(name, lm, tmp_path)
    dims = [lm.geometry.head_dims[layer] for layer, _ in edit.heads]
    assert edit.num_parameters == sum(dims) * len(list(edit.parameters()))
    for values in edit.parameters():
        assert values.shape == (len(dims), lm.geometry.head_dim)
        for row, dim in zip(values, dims, strict=True):
            assert row[:dim].count_nonzero() > 0
            assert not row[dim:].any()
    loaded = load_intervention_file(tmp_path / name, lm)
    assert all(torch.equal(a, b) for a, b in zip(edit.parameters(), loaded.parameters(), strict=True))
    assert loaded.num_parameters == edit.num_parameters


def test_an_edit_is_the_equation_on_each_heads_part_of_the_activations(lm):
    geometry, every_head = lm.geometry, lm.geometry.every_head()
    shape = geometry.total_heads, geometry.head_dim
    edit = HeadEdit(geometry, every_head, torch.randn(shape), torch.randn(shape))
    tokens = torch.tensor([[5, 6, 7, 8]])
    seen = {}

    def by_hand(layer, dim):
        rows = [row for row, (where, _) in enumerate(edit.heads) if where == layer]
        scale, offset = (torch.cat([values[row, :dim] for row in rows]) for values in (edit.scale, edit.offset))
        return lambda module, args: ((1 + scale) * args[0] + offset, *args[1:])

    with torch.no_grad():
        plain = lm.model(input_ids=tokens).logits
        with edit.attach(lm):
            seen["edit"] = lm.model(input_ids=tokens).logits
        handles = [
            module.register_forward_pre_hook(by_hand(layer, geometry.head_dims[layer]))
            for layer, module in lm.output_projections.items()
        ]
        seen["by hand"] = lm.model(input_ids=tokens).logits
        for handle in handles:
            handle.remove()
    assert not torch.allclose(plain, seen["edit"])
    torch.testing.assert_close(seen["edit"], seen["by hand"])


def test_activations_are_each_layers_heads_and_zeros(lm):
    inputs = {}
    handles = [
        module.register_forward_pre_hook(lambda _, args, layer=layer: inputs.update({layer: args[0]}))
        for layer, module in lm.output_projections.items()
    ]
    ((sequence,),) = tokenize(lm, [("Which train 1?\nA:", [" a1."])])
    found = last_token_activations(lm, [sequence])[0]
    for handle in handles:
        handle.remove()
    for layer, (count, dim) in enumerate(zip(*vars(lm.geometry).values(), strict=True)):
        assert found[layer].count_nonzero() <= count * dim
        if count:
            torch.testing.assert_close(found[layer, :count, :dim].flatten(), inputs[layer][0, -1])


def test_no_head_is_selected_counted_or_drawn_where_there_is_none(lm, tmp_path):
    geometry, every_head = lm.geometry, lm.geometry.every_head()
    assert parse_num_heads("100%", geometry) == geometry.total_heads == int(every_head.sum())
    scores = torch.rand(every_head.shape).masked_fill(~every_head, -torch.inf)
    mask = select_top(scores, geometry.total_heads)
    assert torch.equal(mask, every_head)
    HeadMask("m", geometry, "random", scores, mask).save(tmp_path)
    loaded = HeadMask.load(tmp_path / "head_mask.safetensors", "m", geometry)
    assert len(loaded.ranked_heads()) == geometry.total_heads
    plot_head_scores(scores, mask, tmp_path)
    plot_heads_per_layer(mask, tmp_path)
    assert (tmp_path / "head_scores.png").stat().st_size > 1000


def test_the_logit_lens_reads_a_head_of_any_size(lm):
    heads = lm.geometry.every_head().nonzero()[[0, -1]]
    offset = torch.randn(2, lm.geometry.head_dim)
    for (layer, head), values, tokens in zip(heads.tolist(), offset, logit_lens(lm, offset, heads, 3), strict=True):
        dim = lm.geometry.head_dims[layer]
        added = lm.output_projections[layer].weight[:, head * dim : (head + 1) * dim] @ values[:dim]
        probabilities = lm.model.get_output_embeddings()(added).softmax(dim=-1)
        assert tokens.probabilities == pytest.approx(probabilities.topk(3).values.tolist(), rel=1e-4)
