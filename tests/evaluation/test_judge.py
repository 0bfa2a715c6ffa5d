"""Local judges: what they are asked, and what their verdicts become."""

import pytest
from tiny_models import build_language_model

from lofit_cli.artifacts.predictions import GeneratedAnswer
from lofit_cli.evaluation.judge import add_verdicts, judge_answers, judge_models, judged_metrics
from lofit_cli.models.logprobs import score_answers
from lofit_cli.schema.sources import EvalConfig, ModelConfig

ANSWERED = [
    GeneratedAnswer(f"q{i}", "c", f"What is number {i}?", {"bleu_acc": 0.0}, ["x"], f"It is {word}")
    for i, word in enumerate(["one", "the number", "nothing", "", "a long answer the the the", "N", "7"])
]


@pytest.mark.parametrize(("metric", "label"), [("true", "True:"), ("info", "Helpful:")])
def test_a_verdict_is_yes_where_the_judge_finds_yes_likelier(metric, label):
    judge = build_language_model("llama")
    for before, after in zip(ANSWERED, add_verdicts(judge, metric, ANSWERED), strict=True):
        prompt = f"Q: {before.question}\nA: {before.generated}\n{label}"
        ((yes, no),) = score_answers(judge, [(prompt, (" yes", " no"))])
        assert after.metrics == {"bleu_acc": 0.0, metric: float(yes > no)}


def test_both_judges_give_their_product(model_dir, monkeypatch):
    verdicts = {"true": [1, 1, 0, 0, 1, 0, 1], "info": [1, 0, 1, 0, 1, 1, 0]}
    loaded = []

    def verdict_of(judge, metric, answered, report):
        loaded.append(judge.id)
        return [
            GeneratedAnswer(**{**vars(item), "metrics": {**item.metrics, metric: float(value)}})
            for item, value in zip(answered, verdicts[metric], strict=True)
        ]

    monkeypatch.setattr("lofit_cli.evaluation.judge.add_verdicts", verdict_of)
    judges = judge_models(EvalConfig(judge_true=str(model_dir), judge_info=str(model_dir)))
    judged = judge_answers(judges, ModelConfig("smollm2"), ANSWERED)
    assert [item.metrics["true_info"] for item in judged] == [1, 0, 0, 0, 1, 0, 0]
    assert loaded == [str(model_dir)] * 2
    assert judged_metrics(judges) == ["true", "info", "true_info"]


def test_judges_are_off_by_default_and_one_may_be_alone(model_dir):
    assert judge_models(EvalConfig()) == {}
    judges = judge_models(EvalConfig(judge_info=str(model_dir)))
    (first, *_) = judge_answers(judges, ModelConfig("smollm2"), ANSWERED)
    assert set(first.metrics) == {"bleu_acc", "info"} == {"bleu_acc", *judged_metrics(judges)}
