"""Prompts, training items and metrics of questions in TruthfulQA's form."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from lofit_cli.errors import UserError
from lofit_cli.prompts import ask, ask_question
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks.forms.truthfulqa import Question, TruthfulQATask, measure_question

QUESTION = Question("q0", "birds", "Can penguins fly?", "No", ("No", "They cannot fly."), ("Yes", "Only at night"))


def test_metrics_by_hand():
    log_probs = [math.log(p) for p in (0.2, 0.4, 0.3, 0.1)]
    assert measure_question(QUESTION, log_probs) == pytest.approx({"mc1": 0.0, "mc2": 0.6, "mc3": 0.5})


def test_mc1_follows_the_best_answer_wherever_it_stands():
    question = Question("q0", "", "?", "They cannot fly.", QUESTION.correct, QUESTION.incorrect)
    assert measure_question(question, [-9.0, -1.0, -2.0, -3.0])["mc1"] == 1.0


def test_metrics_survive_probabilities_that_underflow():
    assert measure_question(QUESTION, [-2000.0, -2001.0, -2000.0, -2001.0])["mc2"] == pytest.approx(0.5)


def test_a_tie_with_an_incorrect_answer_is_not_a_win():
    assert measure_question(QUESTION, [-1.0, -1.0, -1.0, -1.0])["mc1"] == 0.0


@pytest.mark.parametrize(("protocol", "start"), [("iti", "Interpret each question"), ("lm_eval", "Q: What is human")])
def test_the_prompt_is_the_protocols(protocol, start):
    task = TruthfulQATask(TaskConfig("t"), {})
    prompt, answers = task.prompt(QUESTION, protocol), task.answers(QUESTION)
    assert prompt.text.startswith(start)
    assert prompt.text.endswith("in Barcelona, Spain.\n\nQ: Can penguins fly?\nA:")
    assert answers == (" No.", " They cannot fly.", " Yes.", " Only at night.")


def test_demonstrations_stand_between_the_protocols_text_and_the_question():
    prompt = TruthfulQATask(TaskConfig("t"), {}).prompt(QUESTION, "lm_eval", ask("Q: A?\nA:", "A?").answered(" B."))
    assert prompt.text.endswith("in Barcelona, Spain.\n\nQ: A?\nA: B.\n\nQ: Can penguins fly?\nA:")
    assert prompt.turns[-3:] == (("user", "A?"), ("assistant", "B."), ("user", "Can penguins fly?"))


def test_an_outcome_is_recorded_with_the_answers_as_they_were_scored():
    log_probs = [math.log(p) for p in (0.2, 0.4, 0.3, 0.1)]
    row = TruthfulQATask(TaskConfig("t"), {}).predict(QUESTION, log_probs)
    assert (row.question_id, row.category, row.question) == ("q0", "birds", "Can penguins fly?")
    assert list(zip(row.answers, row.correct, row.log_probs, strict=True)) == [
        ("No.", True, log_probs[0]),
        ("They cannot fly.", True, log_probs[1]),
        ("Yes.", False, log_probs[2]),
        ("Only at night.", False, log_probs[3]),
    ]
    assert row.metrics == pytest.approx({"mc1": 0.0, "mc2": 0.6, "mc3": 0.5})


def _examples(**settings):
    return TruthfulQATask(TaskConfig("t", **settings), {"train": [QUESTION]}).examples("train")


def test_training_pairs_the_best_answer_with_the_first_incorrect_one():
    assert _examples() == [(ask_question("Can penguins fly?"), (" No.", " Yes."), 1)]


def test_training_on_all_answers_keeps_the_chosen_first():
    (example,) = _examples(train_answers="all", close_answers=False, answer_prefix="")
    assert example.answers == ("No", "They cannot fly.", "Yes", "Only at night")
    assert example.num_chosen == 2


def test_swapped_questions_are_all_anothers_and_leave_the_answers_where_they_are():
    items = [replace(QUESTION, id=f"q{i}", text=f"{i}?") for i in range(5)]
    splits = {"test": items, "train": [QUESTION]}
    plain, swapped = (TruthfulQATask(TaskConfig("t", swap_questions=names), splits) for names in ([], ["test"]))
    assert [item.text for item in swapped.items("test")] == ["2?", "3?", "4?", "0?", "1?"]
    assert [replace(item, text="") for item in swapped.items("test")] == [replace(item, text="") for item in items]
    assert (swapped.items("train"), plain.items("test")) == ([QUESTION], items)
    assert [swapped.protocol("iti", split) for split in ("train", "test")] == ["iti", "iti, questions swapped"]
    # What it is made of is the same, so that neither `latest` nor the refusal of seen questions takes it for another.
    assert swapped.facts() == plain.facts()
    assert swapped.fingerprints("test") == {item.fingerprint for item in items}


def test_training_on_swapped_questions():
    items = [replace(QUESTION, text="a?"), replace(QUESTION, text="b?", best="They cannot fly.")]
    task = TruthfulQATask(TaskConfig("t", swap_questions=["train"]), {"train": items})
    assert [(e.prompt.text, e.answers[0]) for e in task.examples("train")] == [
        ("Q: b?\nA:", " No."),
        ("Q: a?\nA:", " They cannot fly."),
    ]


def test_one_question_cannot_be_swapped():
    with pytest.raises(UserError, match="needs two questions"):
        TruthfulQATask(TaskConfig("t", swap_questions=["train"]), {"train": [QUESTION]}).items("train")


@pytest.mark.parametrize("typed", ["Q: {question}\\nA:", "Q: {question}\nA:", "Q: {question}\\\\nA:"])
def test_a_line_end_that_is_typed_as_two_characters_is_one(typed):
    config = TaskConfig("t", train_prompt=typed, answer_prefix="\\n\\t")
    assert (config.train_prompt, config.answer_prefix) == ("Q: {question}\nA:", "\n\t")
    (example,) = TruthfulQATask(replace(config), {"train": [QUESTION]}).examples("train")
    assert (example.prompt.text, example.answers[0]) == ("Q: Can penguins fly?\nA:", "\n\tNo.")


@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_line_end_in_quotation_marks_on_the_command_line_is_one(lofit, quote):
    prompt = f"task.train_prompt={quote}Say: {{question}}\\nSo:{quote}"
    train = ("train-offsets", "method=icl", "method.num_examples=1", prompt, "hydra.run.dir=runs/a")
    assert lofit(*train).exit_code == 0
    facts = json.loads(Path("runs/a/manifest.json").read_text())
    assert facts["made_by"]["task.train_prompt"] == "Say: {question}\nSo:"
