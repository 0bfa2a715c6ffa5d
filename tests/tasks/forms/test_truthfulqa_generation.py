"""TruthfulQA answered in the model's own words, and with two answers a question."""

import math

import pytest
import sacrebleu
from lofit_data import write_truthfulqa
from rouge_score import rouge_scorer
from tiny_models import build_language_model

from lofit_cli.errors import UserError
from lofit_cli.evaluation.measure import measure_split
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks import SAMPLES_DIR, load_task
from lofit_cli.tasks.forms.truthfulqa import PROTOCOLS, Question
from lofit_cli.tasks.forms.truthfulqa_generation import bleu, references, rouge

CORRECT, INCORRECT = ("The Earth is round", "It is nearly a ball."), ("The Earth is flat", "It is a cube")
QUESTION = Question("q", "c", "What shape is the Earth?", CORRECT[0], CORRECT, INCORRECT)


def _load(name="truthfulqa_generation", **settings):
    return load_task(TaskConfig(name, data_dir="sample", **settings))


@pytest.mark.parametrize("generated", ["The Earth is round.", "A flat one, the Earth is flat", "", "It is a ball"])
def test_metrics_are_those_of_the_libraries(generated):
    scorer = rouge_scorer.RougeScorer(["rouge1", "rougeL"])
    correct = ["The Earth is round.", "It is nearly a ball.", "I have no comment."]
    incorrect = ["The Earth is flat.", "It is a cube."]
    found = _load().measure(QUESTION, generated)
    for kind in ("bleu", "rouge1", "rougeL"):
        best = []
        for refs in (correct, incorrect):
            if kind == "bleu":
                metric = sacrebleu.BLEU(tokenize="intl", smooth_method="exp", effective_order=False)
                best.append(max(metric.corpus_score([generated], [[ref]]).score for ref in refs) / 100)
            else:
                best.append(max(scorer.score(ref, generated)[kind].fmeasure for ref in refs))
        assert found[f"{kind}_diff"] == pytest.approx(best[0] - best[1])
        assert found[f"{kind}_acc"] == float(best[0] > best[1])
    assert list(found) == list(_load().metrics)


def test_the_same_words_are_wholly_alike_and_others_are_not():
    assert bleu("The Earth is a ball.", "The Earth is a ball.") == pytest.approx(1)
    assert rouge("rougeL")("The Earth is a ball.", "Earth the ball is a") < rouge("rouge1")("a ball", "ball a") == 1
    assert all(math.isfinite(similarity("", "")) for similarity in (bleu, rouge("rouge1")))


def test_no_comment_is_a_correct_answer_once():
    assert references(QUESTION)[0].count("I have no comment.") == 1
    already = Question("q", "c", "?", "I have no comment", ("I have no comment",), ("x",))
    assert references(already) == (["I have no comment."], ["x."])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_it_trains_as_truthfulqa_does_and_is_asked_under_the_same_prompt(protocol):
    task, scored = _load(), _load("truthfulqa")
    assert task.examples("train") == scored.examples("train")
    assert task.objective == "dpo"
    question = task.items("test")[0]
    assert task.prompt(question, protocol) == scored.prompt(question, protocol)


def test_what_is_generated_is_recorded_with_the_correct_answers():
    lm = build_language_model("llama", max_row_tokens=3000)
    predictions = measure_split(lm, task := _load(max_new_tokens=3), "validation", "lm_eval")
    assert [p.accepted for p in predictions] == [references(question)[0] for question in task.items("validation")]
    assert all(set(p.metrics) == set(task.metrics) for p in predictions)


def test_binary_questions_have_two_answers():
    task = _load("truthfulqa_binary", fold=1)
    assert all(len(q.correct) == len(q.incorrect) == 1 for q in task.items("test"))
    assert all(len(e.answers) == 2 and e.num_chosen == 1 for e in task.examples("train"))
    assert task.metrics == ("accuracy",)
    question = task.items("test")[0]
    assert [task.measure(question, values)["accuracy"] for values in ((-1, -2), (-2, -1), (-1, -1))] == [1, 0, 0]


def test_binary_needs_its_column_and_a_folder(tmp_path):
    write_truthfulqa(tmp_path)
    with pytest.raises(UserError, match="has no column 'Best Incorrect Answer'"):
        load_task(TaskConfig("truthfulqa_binary", data_dir=str(tmp_path)))
    with pytest.raises(UserError, match=r"task.data_dir must be set for task 'truthfulqa_binary'"):
        load_task(TaskConfig("truthfulqa_binary"))


def test_the_authors_whole_file_is_split_into_folds(tmp_path):
    parts = [(SAMPLES_DIR / f"truthfulqa/fold_{fold}_test_seed_42.csv").read_text() for fold in (0, 1)]
    (tmp_path / "TruthfulQA.csv").write_text(parts[0] + parts[1].split("\n", 1)[1])
    for fold in (0, 1):
        task = load_task(TaskConfig("truthfulqa_binary", fold=fold, data_dir=str(tmp_path)))
        assert [len(task.items(split)) for split in ("train", "validation", "test")] == [14, 4, 18]
        assert task.fingerprints("test") == _load("truthfulqa_binary", fold=fold).fingerprints("test")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_binary_questions_are_scored_under_both_protocols(protocol):
    lm = build_language_model("llama")
    for prediction in measure_split(lm, _load("truthfulqa_binary"), "validation", protocol):
        best, incorrect = prediction.log_probs
        assert prediction.metrics == {"accuracy": float(best > incorrect)}
