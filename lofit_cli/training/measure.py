"""Scoring a split of a task under whatever is attached to the model."""

from collections.abc import Callable

from lofit_cli.artifacts.predictions import ScoredQuestion
from lofit_cli.models.logprobs import LanguageModel, score_answers
from lofit_cli.tasks.multiple_choice import MultipleChoiceTask, measure_question, scoring_prompt


def measure_split(
    lm: LanguageModel,
    task: MultipleChoiceTask,
    split: str,
    protocol: str,
    report: Callable[[int], None] = lambda num_questions: None,
) -> list[ScoredQuestion]:
    """Return every question of a split with its answers' log-probabilities and metrics."""
    questions = task.questions(split)
    items = [scoring_prompt(question, protocol) for question in questions]
    log_probs = score_answers(lm, items, report)
    return [
        ScoredQuestion(
            question_id=question.id,
            category=question.category,
            question=question.text,
            answers=[answer.strip() for answer in answers],
            correct=[i < len(question.correct) for i in range(len(answers))],
            log_probs=values,
            metrics=measure_question(question, values),
        )
        for question, (_, answers), values in zip(questions, items, log_probs, strict=True)
    ]
