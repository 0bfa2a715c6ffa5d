"""Prompt tuning beside peft's: the same log-probabilities and gradient; DePT without its product is prompt tuning."""

import pytest
import torch
from making import make, make_task
from peft_prompts import peft_scores
from tiny_models import EACH_FAMILY, build_language_model

from lofit_cli.errors import UserError
from lofit_cli.interventions.soft_prompt import SoftPrompt
from lofit_cli.models.generation import generate_texts
from lofit_cli.models.logprobs import answer_logprobs, score_answers, tokenize_items
from lofit_cli.models.packing import TokenSequence

PROMPTS = ["Q: Which number is this one?\nA:", "A longer beginning. Q: x?\nA:"]
SEQUENCES = [TokenSequence((*range(3, 12), 40, last), 9) for last in (41, 50)]


def soft_prompt(lm, rows=None, columns=None):
    vectors = 0.3 * torch.randn(4, lm.hidden_size, generator=torch.Generator().manual_seed(0))
    return SoftPrompt(vectors, rows, columns)


def ours(lm, edit):
    with edit.attach(lm):
        return answer_logprobs(lm, [sequence.after(lm.beginning) for sequence in SEQUENCES])


@pytest.mark.parametrize("family", EACH_FAMILY)
@pytest.mark.parametrize("batching", ["packed", "padded"])
def test_log_probabilities_and_gradient_are_pefts(family, batching):
    import peft

    lm = build_language_model(family, batching)
    edit = soft_prompt(lm)
    found = ours(lm, edit)
    found.sum().backward()
    other = build_language_model(family).model
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    tuned = peft.get_peft_model(other, config)
    weight = tuned.prompt_encoder.default.embedding.weight
    weight.data.copy_(edit.vectors.data)
    expected = peft_scores(tuned, SEQUENCES)
    expected.sum().backward()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(edit.vectors.grad, weight.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_text_is_that_of_a_plain_loop_over_embeddings(family):
    lm = build_language_model(family)
    edit, embed = soft_prompt(lm), lm.model.get_input_embeddings()
    (prompt,) = lm.encode(PROMPTS[:1])
    tokens = list(prompt.tokens)
    for _ in range(4):
        embedded = torch.cat([edit.vectors.detach()[None], embed(torch.tensor([tokens]))], dim=1)
        with torch.no_grad():
            tokens.append(int(lm.model(inputs_embeds=embedded).logits[0, -1].argmax()))
    with edit.attach(lm):
        (text,) = generate_texts(lm, PROMPTS[:1], 4)
    said = tokens[len(prompt.tokens) :]
    ended = next((i for i, token in enumerate(said) if token in lm.end_tokens), len(said))
    assert text == lm.tokenizer.decode(said[:ended])


def test_a_product_of_zeros_changes_nothing_and_another_one_does():
    lm = build_language_model("llama")
    plain = ours(lm, soft_prompt(lm))
    zeros = torch.zeros(2, lm.hidden_size)
    assert ours(lm, soft_prompt(lm, torch.ones(6, 2), zeros)).equal(plain)
    changed = ours(lm, soft_prompt(lm, torch.ones(6, 2), zeros + 0.1))
    assert (changed - plain).abs().min() > 1e-3


def test_the_product_is_added_to_the_first_tokens_of_the_text_itself():
    lm = build_language_model("llama")
    rows, columns = torch.randn(6, 2), torch.randn(2, lm.hidden_size)
    edit, embed = soft_prompt(lm, rows, columns), lm.model.get_input_embeddings()
    tokens = torch.tensor([SEQUENCES[0].tokens])
    embedded = embed(tokens).clone()
    embedded[0, :6] += rows @ columns
    with torch.no_grad():
        log_probs = lm.model(inputs_embeds=torch.cat([edit.vectors.detach()[None], embedded], dim=1)).logits[0, 4:-1]
    picked = log_probs.log_softmax(dim=-1).gather(-1, tokens[0, 1:, None]).flatten()
    assert float(ours(lm, edit)[0].detach()) == pytest.approx(float(picked[8:].sum()), abs=1e-5)


def test_training_learns_the_product_at_its_own_rate(tmp_path):
    lm = build_language_model("llama")
    edit = make("prompt", lm, tmp_path, rank=2, num_shifted=5, low_rank_rate=1e-9)
    assert edit.columns.abs().max() < 1e-6
    faster = make("prompt", lm, tmp_path / "b", rank=2, num_shifted=5, low_rank_rate=1.0)
    assert faster.columns.abs().max() > 1e-3


def test_a_text_that_has_no_room_behind_the_vectors_is_refused(tmp_path):
    lm = build_language_model("gpt2", n_positions=70)
    with pytest.raises(UserError, match=r"method.num_vectors=60 stand before .*question .* positions for 70 tokens"):
        make("prompt", lm, tmp_path, num_vectors=60)
    with pytest.raises(UserError, match=r"method.num_vectors=70 is not allowed: .* for 70 tokens; give 1 to 69"):
        make("prompt", lm, tmp_path, num_vectors=70)


@pytest.mark.parametrize("name", ["prompt", "prefix"])
def test_a_validation_prompt_that_has_no_room_is_refused_before_training(name, tmp_path):
    asked = [make_task().asked(item, "iti") for item in make_task().items("validation")]
    longest = max(len(s.tokens) for item in tokenize_items(build_language_model("llama"), asked) for s in item)
    lm = build_language_model("llama", max_position_embeddings=longest + 2)
    with pytest.raises(UserError, match=rf"method.num_vectors=3 stand before .* has {longest + 3} tokens"):
        make(name, lm, tmp_path)
    assert not (tmp_path / name / "history.jsonl").exists()


def test_scores_under_it_come_from_a_shared_beginning_as_well():
    lm, padded = build_language_model("llama"), build_language_model("llama", "padded")
    items = [(f"Some words that all prompts begin with. Q: {i}?\nA:", [" the number", " No"]) for i in range(3)]
    with soft_prompt(lm).attach(lm):
        packed = torch.tensor(score_answers(lm, items))
    with soft_prompt(padded).attach(padded):
        torch.testing.assert_close(torch.tensor(score_answers(padded, items)), packed, atol=1e-4, rtol=0)
