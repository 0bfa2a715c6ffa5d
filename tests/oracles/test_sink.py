"""Attention to the first token against the attention weights that eager attention returns, in NumPy."""

import math

import numpy as np
import pytest
import torch
from making import make, make_config, make_task
from tiny_models import EACH_FAMILY, build_language_model

from lofit_cli.artifacts.run_dir import start_run
from lofit_cli.errors import UserError
from lofit_cli.interventions.sink_edit import SinkEdit
from lofit_cli.models.forward import all_logits
from lofit_cli.models.generation import generate_texts
from lofit_cli.models.logprobs import answer_logprobs
from lofit_cli.models.packing import TokenSequence
from lofit_cli.training.objective import Objective

SEQUENCES = [TokenSequence((*range(3, 12), 40, last), 9) for last in (41, 50)]


def sink(lm, gamma):
    every = lm.geometry.every_head()
    return SinkEdit(lm.geometry, every, torch.full((int(every.sum()),), math.log(gamma)))


@pytest.mark.parametrize("family", EACH_FAMILY)
@pytest.mark.parametrize("gamma", [0.5, 3.0])
def test_weights_are_multiplied_and_divided_by_their_sum(family, gamma):
    eager = build_language_model(family, attn_implementation="eager")
    tokens = torch.tensor([SEQUENCES[0].tokens])

    def weights_and_input():
        found = {}
        projection = eager.output_projections[0]
        handle = projection.register_forward_pre_hook(lambda module, args: found.update(z=args[0]))
        with torch.no_grad(), eager.token_positions.padded([9], tokens):
            output = eager.model(input_ids=tokens, output_attentions=True)
        handle.remove()
        return output.attentions[0][0].double().numpy(), found["z"][0].double().numpy()

    before, _ = weights_and_input()
    with sink(eager, gamma).attach(eager):
        after, _ = weights_and_input()
    share = 1 + (gamma - 1) * before[..., :1]
    expected = before / share
    expected[..., 0] *= gamma
    np.testing.assert_allclose(after, expected, atol=1e-6)


@pytest.mark.parametrize("family", EACH_FAMILY)
def test_packed_rows_give_what_single_texts_in_eager_attention_give(family):
    lm, eager = build_language_model(family), build_language_model(family, "padded", attn_implementation="eager")
    with sink(lm, 3.0).attach(lm), torch.no_grad():
        packed = answer_logprobs(lm, SEQUENCES)
    with sink(eager, 3.0).attach(eager), torch.no_grad():
        alone = torch.cat([answer_logprobs(eager, [sequence]) for sequence in SEQUENCES])
    torch.testing.assert_close(packed, alone, atol=1e-4, rtol=0)
    with sink(lm, 1.0).attach(lm), torch.no_grad():
        torch.testing.assert_close(
            answer_logprobs(lm, SEQUENCES), answer_logprobs(build_language_model(family), SEQUENCES), atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_the_gradient_is_that_of_finite_differences(family):
    lm = build_language_model(family)
    objective = Objective(lm, make_task(), 0.5)
    items = objective.prepare("train")
    edit = sink(lm, 1.5)
    with edit.attach(lm):
        objective.loss(items, backward=True)
        for number in (0, 5, 11):
            step, losses = 1e-2, []
            for sign in (1, -1):
                edit.log_gamma.data[number] += sign * step
                losses.append(objective.loss(items))
                edit.log_gamma.data[number] -= sign * step
            slope = (losses[0] - losses[1]) / (2 * step)
            assert float(edit.log_gamma.grad[number]) == pytest.approx(slope, abs=2e-4)


def test_the_selector_ranks_by_slope_and_the_larger_kind_is_positive(tmp_path):
    from lofit_cli.schema.components import SelectorConfig
    from lofit_cli.schema.stages import SelectHeadsConfig
    from lofit_cli.selectors.sink import score_heads_by_sink

    lm = build_language_model("llama")
    base = make_config("lofit", tmp_path)
    config = SelectHeadsConfig(base.model, base.task, SelectorConfig("sink"), base.trainer)
    with start_run(tmp_path / "run", "train_offsets", base) as run:
        scores = score_heads_by_sink(lm, make_task(), config, run)
        objective = Objective(lm, make_task(), config.trainer.beta)
        items, edit = objective.prepare("train"), sink(lm, 1.0)
        with edit.attach(lm):
            objective.loss(items, backward=True)
        from manifests import FACTS

        run.record(**FACTS["train_offsets"])
    slopes = -edit.log_gamma.grad.view(scores.shape)
    slopes = slopes if slopes.sign().sum() >= 0 else -slopes
    torch.testing.assert_close(scores, slopes, atol=1e-6, rtol=1e-4)
    assert (scores > 0).sum() >= (scores < 0).sum()


def test_entropy_is_of_the_next_token_and_looks_at_no_answer(tmp_path):
    from lofit_cli.evaluation.entropy import mean_entropy

    lm, task = build_language_model("llama"), make_task()
    found = mean_entropy(lm, task, "validation", "iti")["negative_entropy"]
    expected = []
    for item in task.items("validation"):
        (text,) = lm.encode([task.prompt(item, "iti").text])
        with torch.no_grad():
            p = lm.model(input_ids=torch.tensor([text.tokens])).logits[0, -1].softmax(dim=-1).double()
        expected.append(float((p * p.log()).sum()))
    assert found == pytest.approx(np.mean(expected), abs=1e-5)
    edit = make("sink", lm, tmp_path, choose_by="entropy")
    assert float(edit.log_gamma[0].exp()) in (pytest.approx(g) for g in (0.3, 0.5, 1.5, 2.0, 3.0, 4.0))


def test_attention_that_takes_no_mask_is_refused():
    lm = build_language_model("llama")
    lm.model.config._attn_implementation = "flash_attention_2"
    with (
        pytest.raises(UserError, match="model 'llama' computes attention by 'flash_attention_2', which takes no mask"),
        sink(lm, 2.0).attach(lm),
    ):
        pass


@pytest.mark.parametrize(
    ("family", "kernel"), [("mistral", "sdpa"), ("mistral", "eager"), ("gemma2", "eager"), ("gemma3", "sdpa")]
)
def test_a_text_that_outgrows_a_window_is_that_of_a_loop_without_caches(family, kernel):
    lm = build_language_model(family, sliding_window=16, attn_implementation=kernel, max_row_tokens=200)
    prompts = ["Q: Which?\nA:", "Which number is this one, and which the other?", "x"]
    with sink(lm, 3.0).attach(lm):
        for asked in (prompts, prompts[:1], prompts[2:]):
            expected = []
            for prompt in asked:
                tokens, said = lm.encode([prompt])[0].tokens, []
                for _ in range(24):
                    said.append(int(all_logits(lm, [[*tokens, *said]])[0, -1].argmax()))
                expected.append(lm.tokenizer.decode(said))
            assert generate_texts(lm, asked, 24) == expected


@pytest.mark.parametrize("family", ["bloom", "falcon", "mpt"])
def test_masks_of_a_models_own_form_are_refused_and_those_of_others_taken(family):
    lm = build_language_model(family, "padded")
    with sink(lm, 3.0).attach(lm), torch.no_grad():
        if family == "mpt":
            with pytest.raises(UserError, match="layers of model 'mpt' don't say what is masked as others do; choose"):
                answer_logprobs(lm, SEQUENCES)
        else:
            assert answer_logprobs(lm, SEQUENCES).isfinite().all()
