"""SADI's and NL-ITI's ways of finding heads against plain NumPy, and where SADI acts."""

import numpy as np
import pytest
import torch
from making import make, make_task
from tiny_models import build_language_model

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.evaluation.contrastive import labelled_activations
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.models.activations import last_token_activations
from lofit_cli.models.logprobs import answer_logprobs, tokenize_items
from lofit_cli.models.packing import TokenSequence
from lofit_cli.schema.components import MeanDifferenceConfig, ProbeConfig
from lofit_cli.schema.sources import ModelConfig, TaskConfig
from lofit_cli.schema.stages import SelectHeadsConfig
from lofit_cli.selectors.mean_difference import score_heads_by_mean_difference
from lofit_cli.selectors.mlp_probe import mlp_accuracy
from lofit_cli.selectors.probe import probe_accuracy, score_heads_by_probe


def run_of(selector, lm, tmp_path, score):
    config = SelectHeadsConfig(ModelConfig("m"), TaskConfig("t"), selector)
    return score(lm, make_task(), config, RunDir(tmp_path, "select_heads"))


def activations(lm):
    """Return (items, answers, layers, heads, head_dim) at the last tokens, and how many answers are right."""
    contrasts = make_task().contrasts("train")
    items = tokenize_items(lm, [(contrast.prompt, contrast.answers) for contrast in contrasts])
    parts = [last_token_activations(lm, item).double().numpy() for item in items]
    return [(part[: c.num_chosen], part[c.num_chosen :]) for part, c in zip(parts, contrasts, strict=True)]


@pytest.mark.parametrize("rank", ["authors", "norm"])
def test_heads_are_ranked_by_the_mean_difference(rank, tmp_path):
    lm = build_language_model("llama")
    found = run_of(MeanDifferenceConfig("mean_difference", rank=rank), lm, tmp_path, score_heads_by_mean_difference)
    differences = np.mean([right.mean(0) - wrong.mean(0) for right, wrong in activations(lm)], axis=0)
    expected = np.linalg.norm(differences, axis=-1) if rank == "norm" else differences.mean(-1)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_a_linear_probe_on_one_token_is_the_probe_of_before(tmp_path):
    lm = build_language_model("llama")
    found = run_of(ProbeConfig("probe"), lm, tmp_path, score_heads_by_probe)
    run = RunDir(tmp_path, "select_heads")
    train, validation = (labelled_activations(lm, make_task(), split, run) for split in ("train", "validation"))
    for layer, head in ((0, 0), (2, 3)):
        assert float(found[layer, head]) == pytest.approx(probe_accuracy(train, validation, (slice(None), layer, head)))


def test_the_mean_is_over_the_last_tokens_of_the_answer_and_no_more():
    lm = build_language_model("llama")
    sequence = TokenSequence((*range(3, 12), 40, 41, 42), 9)
    alone = [last_token_activations(lm, [TokenSequence(sequence.tokens[:end], 9)])[0] for end in (10, 11, 12)]
    for num_last, expected in ((1, alone[2:]), (2, alone[1:]), (9, alone)):
        found = last_token_activations(lm, [sequence], num_last=num_last)[0]
        torch.testing.assert_close(found, torch.stack(expected).mean(dim=0), atol=1e-5, rtol=0)


def test_a_network_tells_apart_what_no_line_does():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(4400, 2, generator=generator)
    labels = features.prod(dim=1) > 0
    parts = (features[:4000], labels[:4000]), (features[4000:], labels[4000:])
    assert mlp_accuracy(*parts, seed=0) > 0.8
    assert probe_accuracy(*parts, (slice(None),)) < 0.65
    state = torch.random.get_rng_state()
    assert mlp_accuracy(*parts, seed=0) == mlp_accuracy(*parts, seed=0)
    assert torch.random.get_rng_state().equal(state)


def test_the_mlp_probe_scores_every_head(tmp_path):
    lm = build_language_model("llama")
    found = run_of(ProbeConfig("probe", probe="mlp", last_tokens=4), lm, tmp_path, score_heads_by_probe)
    assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_it_multiplies_at_the_prompts_last_token_alone(family, tmp_path):
    lm = build_language_model(family)
    edit = make("sadi", lm, tmp_path, alphas=[7.0])
    assert isinstance(edit, HeadEdit)
    assert edit.scale.detach().unique().tolist() == [6.0]
    sequence = TokenSequence((*range(3, 12), 40, 41), 9)
    handles = []
    for layer, projection in lm.output_projections.items():

        def multiply(module, args, layer=layer):  # fmt: skip
            z = args[0].clone()
            heads = z[:, 8].view(1, lm.geometry.heads_per_layer[layer], -1)
            heads[:, edit.head_mask[layer]] *= 7
            return (z, *args[1:])

        handles.append(projection.register_forward_pre_hook(multiply))
    tokens = torch.tensor([sequence.tokens])
    with torch.no_grad():
        log_probs = lm.model(input_ids=tokens).logits[0, :-1].log_softmax(dim=-1)
    expected = log_probs.gather(1, tokens[0, 1:, None]).flatten()[8:].sum()
    for handle in handles:
        handle.remove()
    with edit.attach(lm), torch.no_grad():
        found = answer_logprobs(lm, [sequence])
    torch.testing.assert_close(found[0], expected, atol=1e-5, rtol=1e-5)
