"""DoLa against its equations in NumPy, from the hidden states that the model itself returns."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from making import make, make_task
from tiny_models import EACH_FAMILY, build_language_model

from lofit_cli.artifacts.geometry import Geometry
from lofit_cli.artifacts.seen_items import read_seen
from lofit_cli.errors import UserError
from lofit_cli.evaluation.measure import cut_items, measure_split
from lofit_cli.interventions.files import load_intervention_file
from lofit_cli.interventions.layer_contrast import DIVERGENCES, FILTERED, LayerContrast
from lofit_cli.methods.dola import layers_of_half
from lofit_cli.models.generation import generate_texts
from lofit_cli.models.logprobs import answer_logprobs
from lofit_cli.models.packing import TokenSequence
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks import load_task

SEQUENCES = [TokenSequence((*range(3, 12), 40, last), 9) for last in (41, 50)]


@pytest.fixture(params=EACH_FAMILY)
def lm(request):
    return build_language_model(request.param)


def log_softmax(logits):
    logits = logits.double().numpy()
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def authors(last, early):
    mix = np.log((np.exp(last) + np.exp(early)) / 2)
    return ((np.exp(mix) * (mix - last)).mean(-1) + (np.exp(mix) * (mix - early)).mean(-1)) / 2


def js(last, early):
    mix = np.log((np.exp(last) + np.exp(early)) / 2)
    return ((np.exp(last) * (last - mix)).sum(-1) + (np.exp(early) * (early - mix)).sum(-1)) / 2


def contrast_in_numpy(lm, tokens, layers, divergence, relative_top=0.0):
    """Return (seq, vocabulary) scores, every token in a pass without cache or packing."""
    inputs = dict.fromkeys(layers)
    hooks = [
        lm.layers[layer].register_forward_pre_hook(lambda module, args, layer=layer: inputs.update({layer: args[0]}))
        for layer in layers
    ]
    with torch.no_grad():
        last = log_softmax(lm.model(input_ids=torch.tensor([tokens])).logits[0])
        cap = getattr(lm.model.config, "final_logit_softcapping", None)
        found = []
        for layer in layers:
            logits = lm.model.get_output_embeddings()(inputs[layer][0])
            found.append(log_softmax(logits if cap is None else torch.tanh(logits / cap) * cap))
    for hook in hooks:
        hook.remove()
    farthest = np.stack([divergence(last, early) for early in found]).argmax(axis=0)
    early = np.take_along_axis(np.stack(found), farthest[None, :, None], axis=0)[0]
    if not relative_top:
        return last - early
    is_likely = last >= last.max(axis=-1, keepdims=True) + np.log(relative_top)
    return np.where(is_likely, last - early, FILTERED)


@pytest.mark.parametrize(("name", "divergence"), [("authors", authors), ("js", js)])
@pytest.mark.parametrize("batching", ["packed", "padded"])
def test_scores_are_the_sums_of_the_contrast(lm, batching, name, divergence):
    lm = build_language_model(lm.id, batching)
    edit = LayerContrast([0, 1, 2], name, 0.0)
    with edit.attach(lm), torch.no_grad():
        found = answer_logprobs(lm, SEQUENCES)
    for score, sequence in zip(found.tolist(), SEQUENCES, strict=True):
        scores = contrast_in_numpy(lm, sequence.tokens, [0, 1, 2], divergence)
        expected = sum(scores[i - 1, sequence.tokens[i]] for i in range(sequence.start, len(sequence.tokens)))
        assert score == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["authors", "js"])
def test_tokens_that_no_layer_finds_possible_leave_the_divergence_a_number(name):
    last, early = (torch.tensor([values]).log_softmax(dim=-1) for values in ([0.0, -120.0, 1.0], [1.0, -130.0, 0.0]))
    possible = [DIVERGENCES[name](part, other) for part, other in ((last, early), (last[:, ::2], early[:, ::2]))]
    expected = possible[1] * (2 / 3 if name == "authors" else 1)
    torch.testing.assert_close(possible[0], expected, atol=1e-6, rtol=0)


def test_text_is_the_likeliest_by_contrast_token_by_token(lm):
    edit = LayerContrast([0, 2], "js", 0.1)
    (prompt,) = lm.encode(["Q: Which number is this one?\nA:"])
    tokens = list(prompt.tokens)
    for _ in range(5):
        tokens.append(int(contrast_in_numpy(lm, tokens, [0, 2], js, 0.1)[-1].argmax()))
    with edit.attach(lm):
        (text,) = generate_texts(lm, ["Q: Which number is this one?\nA:"], 5)
    said = tokens[len(prompt.tokens) :]
    ended = next((i for i, token in enumerate(said) if token in lm.end_tokens), len(said))
    assert text == lm.tokenizer.decode(said[:ended])


def test_by_default_unlikely_tokens_are_left_out_in_generation_and_in_nothing_else(lm, tmp_path):
    made = make("dola", lm, tmp_path)
    assert made.relative_top is None
    loaded = load_intervention_file(tmp_path / "dola", lm)
    plain, filtered = (LayerContrast(made.layers, made.divergence, top) for top in (0.0, 0.1))
    scores, texts = [], []
    for edit in (loaded, plain, filtered):
        with edit.attach(lm), torch.no_grad():
            scores.append(answer_logprobs(lm, SEQUENCES).tolist())
            texts.append(generate_texts(lm, ["Q: Which number is this one?\nA:"], 5))
            assert scores[-1] == answer_logprobs(lm, SEQUENCES).tolist()
    assert (scores[0], texts[0]) == (scores[1], texts[2])
    assert (scores[1], texts[2]) != (scores[2], texts[1])


def test_a_perplexity_of_what_is_no_probability_is_refused(lm):
    task = cut_items(lm, load_task(TaskConfig("perplexity", data_dir="sample")))
    with (
        LayerContrast([0], "js", None).attach(lm),
        pytest.raises(UserError, match="task 'perplexity' measures how likely a text is, and the scores that method="),
    ):
        measure_split(lm, task, "test", "iti")


def test_a_layer_that_says_the_same_as_the_last_leaves_no_difference():
    lm = build_language_model("gpt2")
    last = torch.randn(4, 9).log_softmax(dim=-1)
    edit = LayerContrast([0], "authors", 0.0)
    found = edit._contrast(lambda hidden: hidden, {0: last[None]}, last[None], {})
    assert found.abs().max() < 1e-6
    assert lm.rescorings == []


def test_halves_are_the_authors_of_32_and_40_layers():
    assert layers_of_half("upper", 32) == list(range(16, 32, 2))
    assert layers_of_half("lower", 32) == list(range(0, 16, 2))
    assert layers_of_half("upper", 40) == list(range(20, 40, 2))
    assert layers_of_half("upper", 30) == list(range(16, 30, 2))


def test_static_contrast_tries_each_layer_and_sees_validation_only(tmp_path):
    lm = build_language_model("llama")
    edit = make("dola", lm, tmp_path, contrast="static")
    tried = (tmp_path / "dola" / "candidates.jsonl").read_text().splitlines()
    assert (len(tried), len(edit.layers)) == (2, 1)
    assert read_seen(tmp_path / "dola") == make_task().fingerprints("validation")


def test_a_model_that_does_more_for_its_logits_is_refused(tmp_path):
    lm = build_language_model("llama")
    lm.model.register_forward_hook(lambda module, args, output: setattr(output, "logits", 2 * output.logits))
    with pytest.raises(UserError, match=r"method=dola reads inner layers .* model 'llama' does more"):
        make("dola", lm, tmp_path)


def test_a_half_without_an_even_layer_is_refused(tmp_path):
    lm = build_language_model("llama")
    single = replace(lm, geometry=Geometry.uniform(1, 4, 8))
    with pytest.raises(UserError, match=r"method.halves=\['upper'\] has no even layer in a model of 1; add lower"):
        make("dola", single, tmp_path, halves=["upper"])
