"""SEA's projections against NumPy's SVD, token by token."""

import json

import numpy as np
import pytest
import torch
from chat_models import build_chat_model
from making import make, make_task
from tiny_models import EACH_FAMILY, build_language_model

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.errors import UserError
from lofit_cli.interventions.projection_edit import ProjectionEdit, leading
from lofit_cli.methods import sea
from lofit_cli.methods.sea import read_states
from lofit_cli.models.generation import generate_lines
from lofit_cli.models.logprobs import answer_logprobs
from lofit_cli.models.mlps import find_mlps
from lofit_cli.models.packing import TokenSequence

SEQUENCES = [TokenSequence((*range(3, 12), 40, last), 9) for last in (41, 50)]


def random_states(seed, num_items=20, width=8):
    return torch.randn(num_items, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("share", [0.5, 0.9, 0.998])
def test_leading_directions_are_those_of_numpys_svd(share):
    base, other = random_states(0), random_states(1)
    vectors, values, _ = np.linalg.svd(base.double().numpy().T @ other.double().numpy() / 20)
    reached = np.cumsum(values**2) / (values**2).sum()
    rank = int(np.argmax(reached >= share)) + 1
    expected = vectors[:, :rank] @ vectors[:, :rank].T
    found = leading(base, other, share).double().numpy()
    assert found.shape == (8, rank)
    np.testing.assert_allclose(found @ found.T, expected, atol=1e-6)


def projected(lm, edit, layer, tokens):
    """Return what leaves a layer's feed-forward network without and with the edit."""
    found = []
    handle = find_mlps(lm)[layer].register_forward_hook(lambda module, args, output: found.append(output))
    with torch.no_grad():
        lm.model(input_ids=tokens)
    handle.remove()
    seen = []
    with edit.attach(lm), torch.no_grad():
        # Registered after the edit's own hook, so that it sees what the edit leaves.
        handle = find_mlps(lm)[layer].register_forward_hook(lambda module, args, output: seen.append(output))
        lm.model(input_ids=tokens)
        handle.remove()
    return found[0][0].double().numpy(), seen[0][0].double().numpy()


@pytest.mark.parametrize("family", EACH_FAMILY)
def test_each_token_is_projected_and_keeps_its_length(family):
    lm = build_language_model(family)
    states = [random_states(seed, 20, lm.hidden_size) for seed in range(4)]
    kept, removed = leading(*states[:2], 0.8), leading(*states[2:], 0.8)
    edit = ProjectionEdit([1], [kept], [removed])
    before, after = projected(lm, edit, 1, torch.tensor([SEQUENCES[0].tokens]))
    keep, remove = kept.double().numpy(), removed.double().numpy()
    matrix = keep @ keep.T + np.eye(lm.hidden_size) - remove @ remove.T
    expected = before @ matrix.T
    expected *= np.linalg.norm(before, axis=-1, keepdims=True) / np.linalg.norm(expected, axis=-1, keepdims=True)
    np.testing.assert_allclose(after, expected, atol=1e-5)


def test_to_keep_all_and_remove_nothing_is_no_change():
    lm = build_language_model("llama")
    nothing, everything = torch.zeros(lm.hidden_size, 0), torch.eye(lm.hidden_size)
    with torch.no_grad():
        base = answer_logprobs(lm, SEQUENCES)
        for kept in (everything, nothing):
            with ProjectionEdit([0, 1, 2], [kept] * 3, [nothing] * 3).attach(lm):
                torch.testing.assert_close(answer_logprobs(lm, SEQUENCES), base, atol=1e-5, rtol=0)


def test_states_stand_behind_the_own_a_right_and_a_wrong_answer(tmp_path):
    lm, task = build_language_model("llama"), make_task()
    own, right, wrong = read_states(lm, task, RunDir(tmp_path, "train_offsets"))
    example = task.contrasts("train")[0]
    prompt = lm.prompt_text(example.prompt)
    (line,) = generate_lines(lm, [example.prompt], task.config.max_new_tokens)
    answers = f" {line}" if line else "\n", example.answers[0], example.answers[example.num_chosen]
    for states, answer in zip((own, right, wrong), answers, strict=True):
        (text,) = lm.encode([prompt + answer])
        found = []
        handle = find_mlps(lm)[2].register_forward_hook(lambda module, args, output, found=found: found.append(output))
        with torch.no_grad():
            lm.model(input_ids=torch.tensor([text.tokens]))
        handle.remove()
        torch.testing.assert_close(states[0, 2], found[0][0, -1], atol=1e-5, rtol=0)


def test_items_to_which_a_chat_model_says_nothing_are_left_out(tmp_path, monkeypatch, capsys):
    lm, task, said = build_chat_model("qwen3"), make_task(), ["", "this", "", "that"]
    monkeypatch.setattr(sea, "generate_lines", lambda *of_model: said)
    own, right, wrong = read_states(lm, task, RunDir(tmp_path, "train_offsets"))
    assert len(own) == len(right) == len(wrong) == 2
    assert "leaves out 2 of 4 training items, to which the model says" in " ".join(capsys.readouterr().err.split())
    said[1] = said[3] = ""
    with pytest.raises(UserError, match="model 'llama' says nothing to any of the 4 training items; set"):
        read_states(lm, task, RunDir(tmp_path, "train_offsets"))


def test_the_number_of_layers_is_chosen_on_validation(tmp_path):
    edit = make("sea", build_language_model("llama"), tmp_path, num_layers=[1, 2])
    assert len((tmp_path / "sea" / "candidates.jsonl").read_text().splitlines()) == 2
    assert edit.layers in ([2], [1, 2])


def test_by_default_a_sixth_a_third_and_two_thirds_of_the_layers_are_tried_and_never_none(tmp_path):
    make("sea", build_language_model("llama"), tmp_path)
    tried = [json.loads(line)["layer"] for line in (tmp_path / "sea" / "candidates.jsonl").read_text().splitlines()]
    assert tried == [2, 1]


def test_more_layers_than_there_are_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"method.num_layers=\[2, 9\] are not all there; allowed: 1 to 3"):
        make("sea", build_language_model("llama"), tmp_path, num_layers=[2, 9])
