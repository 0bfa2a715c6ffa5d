"""Every method in every family: one step, the same scores packed or one by one, through its file, and no trace left."""

from dataclasses import replace

import pytest
import torch
from making import REFUSED, make, make_task
from tiny_models import EACH_FAMILY, build_language_model

from lofit_cli.artifacts.seen_items import read_seen
from lofit_cli.errors import RunError, UserError
from lofit_cli.interventions.files import load_intervention_file
from lofit_cli.methods import METHODS
from lofit_cli.models.generation import generate_lines
from lofit_cli.models.logprobs import answer_logprobs, score_answers, tokenize_items

PROMPTS = ["Q: Which number is this one?\nA:", "A longer beginning of text. Q: Which number?\nA:", "Q: x?\nA:"]
ITEMS = [(prompt, [" the number", " the answer 7", " No"]) for prompt in PROMPTS]


def scores_of(lm, edit=None):
    if edit is None:
        return torch.tensor(score_answers(lm, ITEMS))
    with edit.attach(lm):
        return torch.tensor(score_answers(lm, ITEMS))


def alone(lm, edit):
    """Return the scores of each sequence in a row of its own, padded by nothing."""
    plain = replace(lm, batching="padded")
    sequences = [sequence for item in tokenize_items(lm, ITEMS) for sequence in item]
    with edit.attach(plain), torch.no_grad():
        return torch.cat([answer_logprobs(plain, [sequence.after(plain.beginning)]) for sequence in sequences]).view(
            len(ITEMS), -1
        )


@pytest.mark.parametrize("family", EACH_FAMILY)
@pytest.mark.parametrize("name", METHODS)
def test_trains_and_round_trips(name, family, tmp_path):
    lm = build_language_model(family)
    if family in REFUSED.get(name, ()):
        with pytest.raises(UserError, match="choose another model"):
            make(name, lm, tmp_path)
        return
    before = scores_of(lm)
    edit = make(name, lm, tmp_path)
    assert scores_of(lm).equal(before)
    loaded = load_intervention_file(tmp_path / name, lm)
    assert loaded.num_parameters == edit.num_parameters
    after = scores_of(lm, loaded)
    torch.testing.assert_close(after, scores_of(lm, edit), atol=1e-5, rtol=0)
    if name != "icl":
        assert (after - before).abs().max() > 1e-4
    torch.testing.assert_close(after, alone(lm, loaded), atol=1e-4, rtol=0)
    assert scores_of(lm).equal(before)
    assert not any(p.requires_grad for p in lm.model.parameters())
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in lm.model.modules())


@pytest.mark.parametrize("family", EACH_FAMILY)
@pytest.mark.parametrize(
    "settings", [{"vector": "contrast"}, {"vector": "contrast", "layers": [0, 1], "alphas": [1.0, 9.0]}]
)
def test_contrast_vectors_score_alike_packed_or_alone(settings, family, tmp_path):
    lm = build_language_model(family)
    edit = make("repe", lm, tmp_path, **settings)
    assert edit.kind == "contrast_edit"
    after = scores_of(lm, edit)
    assert (after - scores_of(lm)).abs().max() > 1e-4
    torch.testing.assert_close(after, alone(lm, edit), atol=1e-4, rtol=0)


def test_strengths_that_are_all_too_large_are_refused(tmp_path):
    with pytest.raises(RunError, match=r"method.alphas=\[1e\+39, 2e\+39\]: each gives log-probabilities"):
        make("caa", build_language_model("llama"), tmp_path, alphas=[1e39, 2e39], layers=[0, 1])


def test_a_single_strength_that_is_too_large_is_refused_and_nothing_is_saved(tmp_path):
    with pytest.raises(
        RunError, match=r"method.alphas=\[1e\+39\] makes numbers that are not finite; give a smaller one"
    ):
        make("file", build_language_model("llama"), tmp_path, alphas=[1e39])
    assert not (tmp_path / "file" / "intervention.safetensors").exists()


@pytest.mark.parametrize(
    ("name", "settings", "family"),
    [
        (name, settings, family)
        for name, settings in [*((name, {}) for name in METHODS), ("repe", {"vector": "contrast"})]
        for family in ("llama", "gpt2", "gemma3")
        if family not in REFUSED.get(name, ())
    ],
)
def test_generated_lines_do_not_depend_on_batches(name, settings, family, tmp_path):
    lm = build_language_model(family, max_row_tokens=1000)
    edit = make(name, lm, tmp_path, **settings)
    single = replace(lm, max_row_tokens=1)
    behind = [f"Some lines that every one of these prompts begins with. {prompt}" for prompt in PROMPTS]
    for prompts in (PROMPTS, behind):
        with edit.attach(lm):
            together = generate_lines(lm, prompts, 5)
        with edit.attach(single):
            assert together == [generate_lines(single, [prompt], 5)[0] for prompt in prompts]


def test_random_offsets_are_not_where_lofit_started_from(tmp_path):
    lm = build_language_model("llama")
    start = make("lofit", lm, tmp_path, rate=1e-12).offset
    drawn = make("random_offset", lm, tmp_path, source=str(tmp_path / "lofit")).offset
    assert torch.cosine_similarity(start, drawn, dim=-1).abs().max() < 0.9


NOT_FITTED = {"dola", "file", "sadi", "sink"}
"""Methods that learn nothing from training items, and are chosen on the validation split at most."""


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"icl"}))
def test_no_test_item_is_seen(name, tmp_path):
    make(name, build_language_model("llama"), tmp_path)
    task = make_task()
    seen = read_seen(tmp_path / name)
    assert seen <= task.fingerprints("train", "validation")
    assert (task.fingerprints("train") <= seen) == (name not in NOT_FITTED)


def test_examples_in_the_prompt_are_seen_and_no_others(tmp_path):
    edit = make("icl", build_language_model("llama"), tmp_path, num_examples=2)
    shown = [item for item in make_task().items("train") if item.text in edit.demonstrations.text]
    assert read_seen(tmp_path / "icl") == {item.fingerprint for item in shown}
    assert edit.demonstrations.text == "".join(
        f"Q: {q.text}\nA: {q.best}.\n\n" for q in sorted(shown, key=lambda q: edit.demonstrations.text.index(q.text))
    )
