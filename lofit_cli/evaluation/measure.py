"""Measuring a split of a task under whatever is attached to the model."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lofit_cli.artifacts.predictions import GeneratedAnswer, Prediction, ScoredAnswers
from lofit_cli.models.generation import generate_lines
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.models.logprobs import score_answers
from lofit_cli.tasks.forms.generation import GenerationTask
from lofit_cli.tasks.forms.multiple_choice import MultipleChoiceTask
from lofit_cli.tasks.forms.truthfulqa import TruthfulQATask, scoring_prompt
from lofit_cli.tasks.forms.truthfulqa_generation import TruthfulQAGenerationTask, accepted_answers
from lofit_cli.tasks.task import Task

Report = Callable[[int], None]


def measure_split(
    lm: LanguageModel,
    task: Task[Any],
    split: str,
    protocol: str,
    report: Report = lambda num_items: None,
    demonstrations: str = "",
) -> Sequence[Prediction]:
    """Return every item of a split with what the model made of it and the metrics that follow.

    Args:
        protocol: the prompt that multiple-choice questions are scored under.
        report: called with the number of items done.
        demonstrations: answered examples that stand before every item.
    """
    if isinstance(task, TruthfulQATask):
        return _score_split(lm, task, split, protocol, report, demonstrations)
    if isinstance(task, MultipleChoiceTask):
        return _choose_split(lm, task, split, report, demonstrations)
    if isinstance(task, TruthfulQAGenerationTask):
        return _answer_openly(lm, task, split, protocol, report, demonstrations)
    if isinstance(task, GenerationTask):
        return _answer_split(lm, task, split, report, demonstrations)
    raise TypeError(f"a {type(task).__name__} can't be measured")


def mean_metrics(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Return each metric's mean over the items."""
    names = predictions[0].metrics
    return {name: float(np.mean([prediction.metrics[name] for prediction in predictions])) for name in names}


def _score_split(
    lm: LanguageModel, task: TruthfulQATask, split: str, protocol: str, report: Report, demonstrations: str
) -> list[ScoredAnswers]:
    questions = task.items(split)
    items = [scoring_prompt(question, protocol, demonstrations) for question in questions]
    log_probs = score_answers(lm, items, report)
    return [
        ScoredAnswers(
            question_id=question.id,
            category=question.category,
            question=question.text,
            metrics=task.measure(question, values),
            answers=[answer.strip() for answer in answers],
            correct=[i < len(question.correct) for i in range(len(answers))],
            log_probs=values,
        )
        for question, (_, answers), values in zip(questions, items, log_probs, strict=True)
    ]


def _choose_split(
    lm: LanguageModel, task: MultipleChoiceTask, split: str, report: Report, demonstrations: str
) -> list[ScoredAnswers]:
    items = task.items(split)
    log_probs = score_answers(lm, [(demonstrations + item.text, item.answers) for item in items], report)
    return [
        ScoredAnswers(
            question_id=item.id,
            category=item.category,
            question=item.text,
            metrics=task.measure(item, values),
            answers=[answer.strip() for answer in item.answers],
            correct=[i == item.right for i in range(len(item.answers))],
            log_probs=values,
        )
        for item, values in zip(items, log_probs, strict=True)
    ]


def _answer_openly(
    lm: LanguageModel, task: TruthfulQAGenerationTask, split: str, protocol: str, report: Report, demonstrations: str
) -> list[GeneratedAnswer]:
    questions = task.items(split)
    prompts = [task.prompt(question, protocol, demonstrations) for question in questions]
    lines = generate_lines(lm, prompts, task.config.max_new_tokens, report)
    return [
        GeneratedAnswer(
            question_id=question.id,
            category=question.category,
            question=question.text,
            metrics=task.measure(line, question),
            accepted=accepted_answers(question),
            generated=line,
        )
        for question, line in zip(questions, lines, strict=True)
    ]


def _answer_split(
    lm: LanguageModel, task: GenerationTask, split: str, report: Report, demonstrations: str
) -> list[GeneratedAnswer]:
    items = task.items(split)
    lines = generate_lines(lm, [demonstrations + item.text for item in items], task.config.max_new_tokens, report)
    return [
        GeneratedAnswer(
            question_id=item.id,
            category=item.category,
            question=item.text,
            metrics=task.measure(line, item),
            accepted=list(item.accepted),
            generated=line,
        )
        for item, line in zip(items, lines, strict=True)
    ]
