"""RED, LoReFT, CAA's and ITI's edits against their equations in plain code."""

import numpy as np
import pytest
import torch
from making import make, make_task
from tiny_models import EACH_FAMILY, build_language_model, edit_all_heads, random_values
from torch.nn.functional import linear
from transformers.pytorch_utils import Conv1D

from lofit_cli.evaluation.contrastive import head_step
from lofit_cli.interventions.residual_edit import DirectionEdit, LowRankEdit
from lofit_cli.methods.repe import principal_direction
from lofit_cli.models.activations import last_token_activations
from lofit_cli.models.logprobs import answer_logprobs, tokenize_items
from lofit_cli.models.packing import TokenSequence

PROMPT_LENGTH = 9
SEQUENCES = [TokenSequence((*range(3, 12), 40, last), PROMPT_LENGTH) for last in (41, 50)]


@pytest.fixture(params=EACH_FAMILY)
def lm(request):
    return build_language_model(request.param)


def plain_logprobs(lm, change_of_layer):
    """Score each sequence alone, with `change_of_layer(layer, hidden)` after each layer."""

    def hook(layer):
        def replace(module, args, output):
            hidden = output[0] if isinstance(output, tuple) else output
            changed = change_of_layer(layer, hidden)
            return (changed, *output[1:]) if isinstance(output, tuple) else changed

        return replace

    handles = [module.register_forward_hook(hook(layer)) for layer, module in enumerate(lm.layers)]
    scores = []
    for sequence in SEQUENCES:
        tokens = torch.tensor([sequence.tokens])
        log_probs = lm.model(input_ids=tokens).logits[0, :-1].log_softmax(dim=-1)
        picked = log_probs.gather(1, tokens[0, 1:, None]).flatten()
        scores.append(picked[sequence.start - 1 :].sum())
    for handle in handles:
        handle.remove()
    return torch.stack(scores)


def ours(lm, edit):
    with edit.attach(lm):
        return answer_logprobs(lm, SEQUENCES)


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("num_first", "num_last"), [(1, 1), (3, 2), (0, 8), (5, 5)])
def test_loreft(lm, num_first, num_last):
    torch.manual_seed(0)
    edit = LowRankEdit(3, lm.hidden_size, 4, num_first, num_last)
    edited = [i < num_first or i >= PROMPT_LENGTH - num_last for i in range(PROMPT_LENGTH)] + [False, False]

    def change(layer, hidden):
        r = edit.rotations[layer].weight.detach()
        w, b = edit.sources[layer].weight.detach(), edit.sources[layer].bias.detach()
        close(r @ r.T, torch.eye(4))
        new = hidden.clone()
        for position in (i for i, is_edited in enumerate(edited) if is_edited):
            h = hidden[0, position]
            new[0, position] = h + r.T @ (w @ h + b - r @ h)
        return new

    close(ours(lm, edit), plain_logprobs(lm, change))


@pytest.mark.parametrize("positions", ["all", "answer"])
def test_a_direction_is_added_after_one_layer(lm, positions):
    vector = torch.randn(lm.hidden_size, generator=torch.Generator().manual_seed(0))

    def change(layer, hidden):
        new = hidden.clone()
        if layer == 1:
            new[:, 0 if positions == "all" else PROMPT_LENGTH - 1 :] += vector
        return new

    close(ours(lm, DirectionEdit(vector, 1, positions)), plain_logprobs(lm, change))


@pytest.mark.parametrize("positions", ["all", "answer"])
def test_red_scales_and_offsets_what_the_projection_gets(lm, positions):
    """The output projection is linear, so its output for `(1 + a) * z + v` is worked out from its weight."""
    scale, offset = random_values(lm.geometry, 1), random_values(lm.geometry, 2)
    edit = edit_all_heads(scale, offset, positions=positions)

    def hook(layer):
        def replace(module, args, output):
            z = args[0]
            weight = module.weight.T if isinstance(module, Conv1D) else module.weight
            new = linear((1 + scale[layer].flatten()) * z + offset[layer].flatten(), weight, module.bias)
            changed = output.clone()
            first = 0 if positions == "all" else PROMPT_LENGTH - 1
            changed[:, first:] = new[:, first:]
            return changed

        return replace

    handles = [module.register_forward_hook(hook(layer)) for layer, module in lm.output_projections.items()]
    expected = plain_logprobs(lm, lambda layer, hidden: hidden)
    for handle in handles:
        handle.remove()
    close(ours(lm, edit), expected)


def test_iti_step_is_the_papers_in_numpy():
    generator = np.random.default_rng(0)
    activations = generator.normal(size=(30, 8)).astype(np.float32)
    right = generator.random(30) < 0.4
    theta = activations[right].mean(axis=0) - activations[~right].mean(axis=0)
    theta /= np.linalg.norm(theta)
    sigma = np.std(activations @ theta)
    found = head_step(torch.from_numpy(activations), torch.from_numpy(right), "mass_mean")
    np.testing.assert_allclose(found.numpy(), sigma * theta, atol=1e-5)


@pytest.mark.parametrize("direction", ["mass_mean", "probe"])
def test_iti_leaves_a_head_alone_whose_activations_are_all_the_same(direction):
    right = torch.arange(6) % 2 == 0
    assert head_step(torch.ones(6, 4), right, direction).tolist() == [0, 0, 0, 0]


def test_iti_is_its_steps_in_numpy_on_the_cached_activations(tmp_path):
    lm, task = build_language_model("llama"), make_task()
    edit = make("iti", lm, tmp_path, alphas=[1.0])
    questions = task.items("train")
    prompts = [(f"Q: {q.text}\nA:", [f" {a}." for a in (*q.correct, *q.incorrect)]) for q in questions]
    right = np.array([i < len(q.correct) for q in questions for i in range(len(q.correct) + len(q.incorrect))])
    sequences = [sequence for item in tokenize_items(lm, prompts) for sequence in item]
    activations = last_token_activations(lm, sequences).numpy()
    assert len(edit.heads) == 2
    for offset, (layer, head) in zip(edit.offset.detach().numpy(), edit.heads, strict=True):
        values = activations[:, layer, head]
        theta = values[right].mean(axis=0) - values[~right].mean(axis=0)
        theta /= np.linalg.norm(theta)
        np.testing.assert_allclose(offset, np.std(values @ theta) * theta, atol=1e-5)
    assert edit.positions == "answer"


def test_iti_probe_direction_separates_as_a_logistic_regression_does():
    generator = np.random.default_rng(0)
    right = np.arange(40) % 2 == 0
    activations = (generator.normal(size=(40, 8)) + 2 * right[:, None] * np.eye(8)[3]).astype(np.float32)
    step = head_step(torch.from_numpy(activations), torch.from_numpy(right), "probe").numpy()
    assert np.argmax(np.abs(step)) == 3
    assert (activations[right] @ step).mean() > (activations[~right] @ step).mean()


def test_the_principal_direction_is_that_of_shuffled_and_centred_pairs():
    generator = np.random.default_rng(0)
    differences = generator.normal(size=(4000, 6)) + 3 * np.eye(6)[2]
    signs = np.where(generator.random(4000) < 0.5, 1, -1)[:, None]
    shuffled = signs * differences
    _, _, components = np.linalg.svd(shuffled - shuffled.mean(axis=0), full_matrices=False)
    found = principal_direction(torch.from_numpy(differences)).numpy()
    assert abs(found @ components[0]) > 0.999
    assert found @ differences.mean(axis=0) > 0
