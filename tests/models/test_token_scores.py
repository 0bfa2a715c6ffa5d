"""Logits in parts give the numbers and the gradients of all logits at once, which then never exist."""

from dataclasses import replace

import pytest
import torch
from tiny_checkpoints import build_architecture
from tiny_models import EACH_FAMILY, VOCABULARY, build_language_model, edit_all_heads, headless, random_values
from torch.utils._python_dispatch import TorchDispatchMode

from lofit_cli.interventions.contrast_edit import ContrastEdit
from lofit_cli.interventions.weights_edit import WeightsEdit
from lofit_cli.models import token_scores
from lofit_cli.models.forward import choose_tail
from lofit_cli.models.logits_tail import LogitsTail
from lofit_cli.models.logprobs import answer_logprobs, score_answers, tokenize

PROMPTS = ("Q: which number? A:", "Q: another? A:")
ITEMS = [(prompt, [" the number 7", " the number", " No", " answer the answer"]) for prompt in PROMPTS]
ROWS = 3


class LogitsMade(TorchDispatchMode):
    """Notes how many rows of the vocabulary the largest tensor has that any operation makes."""

    def __init__(self):
        super().__init__()
        self.rows = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **kwargs or {})
        if isinstance(made, torch.Tensor) and made.ndim > 1 and made.shape[-1] == VOCABULARY:
            self.rows = max(self.rows, made.numel() // VOCABULARY)
        return made


@pytest.fixture
def in_parts(monkeypatch):
    """Return a function that computes inside with at most a few rows of logits at once."""

    def few():
        monkeypatch.setattr(token_scores, "MAX_LOGITS", ROWS * VOCABULARY)

    return few


def run(lm, edit):
    sequences = [sequence for item in tokenize(lm, ITEMS) for sequence in item]
    with edit.attach(lm), LogitsMade() as watch:
        values = answer_logprobs(lm, sequences)
        (values * torch.arange(1, len(values) + 1)).sum().backward()
    return watch.rows, [values.detach(), *(parameter.grad for parameter in edit.parameters())]


def edit_of(lm):
    return edit_all_heads(random_values(lm.geometry, 1), random_values(lm.geometry, 2))


@pytest.mark.parametrize("batching", ["packed", "padded", "single"])
@pytest.mark.parametrize("family", EACH_FAMILY)
def test_numbers_and_gradients_are_those_of_all_logits_at_once(family, batching, in_parts):
    lm = build_language_model(family, batching)
    lm = replace(lm, tail=choose_tail(lm))
    assert lm.tail is not None
    rows, expected = run(lm, edit_of(lm))
    assert rows > (2 * ROWS if batching != "single" else ROWS)
    in_parts()
    rows, found = run(lm, edit_of(lm))
    # The embeddings of gpt2 and others are tied, and their transpose is as wide as a row of logits.
    assert rows <= max(ROWS, 32)
    for one, other in zip(found, expected, strict=True):
        assert float((one - other).norm() / other.norm()) < 1e-6


def test_no_more_logits_than_allowed_are_ever_made(in_parts):
    lm = build_language_model("llama", hidden_size=2, num_attention_heads=1, num_key_value_heads=1, head_dim=2)
    lm = replace(lm, tail=choose_tail(lm))
    assert run(lm, edit_of(lm))[0] > 2 * ROWS
    in_parts()
    assert run(lm, edit_of(lm))[0] <= ROWS


def test_scores_behind_a_cached_prefix_are_the_same(in_parts):
    lm = build_language_model("llama")
    lm = replace(lm, tail=choose_tail(lm))
    shared = "Q: the answer to the number of the answer is the number of the question? A:" * 3
    items = [(shared + prompt, answers) for prompt, answers in ITEMS]
    expected = score_answers(lm, items)
    in_parts()
    for one, other in zip(score_answers(lm, items), expected, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_the_difference_is_that_of_rounding(dtype, in_parts):
    lm = build_language_model("gemma2")
    lm.model.to(dtype)
    lm = replace(lm, tail=choose_tail(lm))
    assert lm.tail == LogitsTail(30.0)
    _, expected = run(lm, edit_of(lm))
    in_parts()
    for one, other in zip(run(lm, edit_of(lm))[1], expected, strict=True):
        assert float((one - other).norm() / other.norm()) < 0.02


def test_a_contrast_edits_twins_do_not_stand_in_for_the_pass_itself(in_parts):
    lm = build_language_model("llama")
    lm = replace(lm, tail=choose_tail(lm))
    edit = ContrastEdit("Be right.", "Be wrong.", 2.0, 1)
    with edit.attach(lm):
        expected = score_answers(lm, ITEMS)
        in_parts()
        for one, other in zip(score_answers(lm, ITEMS), expected, strict=True):
            assert one == pytest.approx(other, abs=1e-5)
    assert score_answers(lm, ITEMS) != expected


def test_output_embeddings_that_are_trained_get_their_gradient(in_parts):
    lm = build_language_model("llama")
    lm = replace(lm, tail=choose_tail(lm))
    _, expected = run(lm, WeightsEdit.copy_of(lm))
    in_parts()
    for one, other in zip(run(lm, WeightsEdit.copy_of(lm))[1], expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("architecture", "changes", "expected"),
    [
        ("llama", {}, LogitsTail(None)),
        ("gemma2", {"final_logit_softcapping": 7.0}, LogitsTail(7.0)),
        ("gemma3_text", {}, LogitsTail(None)),
        ("cohere", {"logit_scale": 0.5}, None),
        ("granite", {"logits_scaling": 4.0}, None),
    ],
)
def test_what_follows_the_hidden_states_is_known_or_left_to_the_model(architecture, changes, expected):
    assert choose_tail(headless(build_architecture(architecture, **changes))) == expected
