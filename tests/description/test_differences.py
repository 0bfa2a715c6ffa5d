"""Mean differences of hidden states and raised tokens, against edits of which they are known and plain transformers."""

import numpy as np
import pytest
import torch
from describing import TEXTS, plain_states, read_texts, silent
from exporting import EDITS, export_edit, load
from tiny_checkpoints import build_checkpoint
from tiny_models import EACH_FAMILY, build_language_model

from lofit_cli.description.differences import compare_texts
from lofit_cli.interventions.contrast_edit import ContrastEdit
from lofit_cli.interventions.demonstrations import Demonstrations
from lofit_cli.interventions.proxy_edit import ProxyEdit
from lofit_cli.interventions.residual_edit import DirectionEdit
from lofit_cli.interventions.soft_prompt import SoftPrompt
from lofit_cli.prompts import ask
from lofit_cli.schema.limits import FIRST_TOKENS
from lofit_cli.schema.sources import ModelConfig

TOP_K = 10


def random_vector(lm, *shape, size=1.0, seed=0):
    return size * torch.randn(*shape, lm.hidden_size, generator=torch.Generator().manual_seed(seed))


def compare(lm, edit, texts=TEXTS):
    return compare_texts(lm, edit, read_texts(lm, texts), TOP_K, silent)


@pytest.mark.parametrize("family", EACH_FAMILY)
def test_a_direction_comes_out_at_its_layer_as_it_went_in(family):
    lm = build_language_model(family)
    vector = random_vector(lm)
    found = compare(lm, DirectionEdit(vector, 1, "all"))
    assert found.deltas[0].abs().max() == 0
    torch.testing.assert_close(found.deltas[1], vector.expand(FIRST_TOKENS, -1), atol=1e-5, rtol=0)
    assert (found.deltas[2] - vector).abs().max() > 1e-2


def test_an_edit_of_answers_acts_on_all_of_a_text():
    lm = build_language_model("llama")
    vector = random_vector(lm)
    found = compare(lm, DirectionEdit(vector, 1, "answer"))
    torch.testing.assert_close(found.deltas[1], vector.expand(FIRST_TOKENS, -1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("batching", ["packed", "single"])
def test_no_edit_changes_nothing(batching):
    found = compare(build_language_model("llama", batching), Demonstrations())
    assert found.deltas.abs().max() == 0
    assert found.raised.sum() == 0
    assert found.num_places == sum(min(64, len(tokens)) for tokens in read_texts(build_language_model("llama")).tokens)


def test_nothing_changes_below_the_lowest_edited_layer():
    lm = build_language_model("llama")
    edit = EDITS["offset"](lm)
    edit.head_mask[:2] = False
    edit = type(edit)(lm.geometry, edit.head_mask, offset=edit.offset[: int(edit.head_mask.sum())].detach())
    found = compare(lm, edit)
    assert found.deltas[:2].abs().max() == 0
    assert found.deltas[2].norm(dim=-1).min() > 1e-2


@pytest.mark.parametrize("name", ["lora", "full", "bitfit", "scale and offset"])
def test_against_plain_transformers_one_text_at_a_time(name, tmp_path):
    build_checkpoint("llama", tmp_path)
    lm = load(tmp_path)
    edit = EDITS[name](lm)
    deltas, lengths, counts = [], [], np.zeros(300, dtype=int)
    for tokens in read_texts(lm).tokens:
        base, logits = plain_states(lm, tokens)
        with edit.attach(lm):
            own, edited_logits = plain_states(lm, tokens)
        deltas.append((own - base)[:, :FIRST_TOKENS])
        lengths.append(own[:, FIRST_TOKENS:].norm(dim=-1))
        raised = (edited_logits.log_softmax(-1) - logits.log_softmax(-1))[:64].numpy()
        for row in raised:
            counts[[token for token in np.argsort(-row)[:TOP_K] if row[token] > 0]] += 1
    found = compare(lm, edit)
    torch.testing.assert_close(found.deltas[:-1], torch.stack(deltas).mean(dim=0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.units[:-1], torch.cat(lengths, dim=1).mean(dim=1), atol=1e-4, rtol=1e-4)
    assert np.abs(found.raised.numpy() - counts).sum() <= 2
    assert found.raised.sum() > 0


def test_a_merged_edit_and_a_hooked_one_agree(tmp_path):
    build_checkpoint("llama", tmp_path / "base")
    export_edit(tmp_path / "base", EDITS["offset"], "hf", tmp_path / "merged")
    base, merged = load(tmp_path / "base"), load(tmp_path / "merged")
    states = [
        [plain_states(lm, tokens)[0][:, :FIRST_TOKENS] for tokens in read_texts(base).tokens] for lm in (base, merged)
    ]
    expected = torch.stack([after - before for before, after in zip(*states, strict=True)]).mean(dim=0)
    assert expected.abs().max() > 1e-2
    found = compare(base, EDITS["offset"](base))
    torch.testing.assert_close(found.deltas[:-1], expected, atol=1e-4, rtol=1e-4)


def test_tokens_keep_their_numbers_behind_a_soft_prompt():
    lm = build_language_model("llama")
    edit = SoftPrompt(random_vector(lm, 2))
    embed, deltas = lm.model.get_input_embeddings(), []
    for tokens in read_texts(lm).tokens:
        behind = torch.cat([edit.vectors.detach(), embed(torch.tensor(tokens))])[None]
        own, _ = plain_states(lm, None, inputs_embeds=behind)
        deltas.append((own[:, 2:] - plain_states(lm, tokens)[0])[:, :FIRST_TOKENS])
    found = compare(lm, edit)
    torch.testing.assert_close(found.deltas[:-1], torch.stack(deltas).mean(dim=0), atol=1e-4, rtol=1e-4)


def test_tokens_keep_their_numbers_behind_demonstrations():
    lm = build_language_model("llama")
    shown = lm.encode(["Q: Is it?\nA: No.\n\n"])[0].tokens
    deltas = []
    for tokens in read_texts(lm).tokens:
        own, _ = plain_states(lm, [*shown, *tokens])
        deltas.append((own[:, len(shown) :] - plain_states(lm, tokens)[0])[:, :FIRST_TOKENS])
    found = compare(lm, Demonstrations(ask("Q: Is it?\nA:").answered(" No.")))
    torch.testing.assert_close(found.deltas[:-1], torch.stack(deltas).mean(dim=0), atol=1e-4, rtol=1e-4)


def test_states_are_the_pass_s_own_where_an_edit_runs_the_model_itself():
    lm = build_language_model("llama")
    proxy = ProxyEdit(DirectionEdit(random_vector(lm), 0, "all"), None, ModelConfig("x"), 1.0)
    found = compare(lm, proxy)
    assert found.deltas.abs().max() == 0
    assert found.raised.sum() > 0
    contrast = compare(lm, ContrastEdit("Be right.", "Be wrong.", 2.0, 1))
    assert contrast.deltas[0].abs().max() == 0
    assert contrast.deltas[1].norm(dim=-1).min() > 1e-3


def test_a_short_text_has_a_say_in_the_tokens_that_it_has():
    lm = build_language_model("llama")
    edit = EDITS["offset"](lm)
    long, both = (compare(lm, edit, texts) for texts in (TEXTS[:1], [TEXTS[0], "ab"]))
    short = len(read_texts(lm, [TEXTS[0], "ab"]).tokens[1])
    assert 0 < short < FIRST_TOKENS
    torch.testing.assert_close(both.deltas[:, short:], long.deltas[:, short:], atol=1e-5, rtol=1e-5)
    assert (both.deltas[:, :short] - long.deltas[:, :short]).abs().max() > 1e-4
