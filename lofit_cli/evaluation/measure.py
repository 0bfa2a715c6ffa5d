"""Measuring a split of a task under whatever is attached to the model."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lofit_cli.artifacts.outcomes import Outcomes
from lofit_cli.artifacts.predictions import TOKEN_LOGPROB, Prediction
from lofit_cli.errors import UserError, naming_items
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.generation import generate_lines
from lofit_cli.models.logprobs import score_answers, tokenize_items
from lofit_cli.prompts import NOTHING, Prompt
from lofit_cli.schema.sources import EvalConfig
from lofit_cli.tasks.task import Task


def measure_split(
    lm: Decoder,
    task: Task[Any],
    split: str,
    protocol: str,
    report: Callable[[int], None] = lambda num_items: None,
    demonstrations: Prompt = NOTHING,
    known: Outcomes | None = None,
) -> Sequence[Prediction]:
    """Return every item of a split with what the model made of it and the metrics that follow.

    Args:
        protocol: the prompt that TruthfulQA's questions are asked under.
        report: called with the number of items done.
        demonstrations: answered examples that stand before every item.
        known: what was measured of these items before, and takes in what is measured now.

    Raises:
        UserError: an item is longer than the model has positions for; to leave it out would change the mean. Or what
            is attached makes scores that are no probabilities, and these are what the task measures.
    """
    if TOKEN_LOGPROB in task.metrics and any(lm.rescorings):
        raise UserError(
            f"task '{task.name}' measures how likely a text is, and the scores that method=dola makes are no "
            "probabilities; choose another task or another intervention"
        )
    items = task.items(split)
    outcomes: Sequence[Any]
    with naming_items([item.name for item in items]):
        if task.generates:
            prompts = [task.prompt(item, protocol, demonstrations) for item in items]
            outcomes = generate_lines(lm, prompts, task.config.max_new_tokens, report, known)
        else:
            asked = [task.asked(item, protocol, demonstrations) for item in items]
            outcomes = score_answers(lm, asked, report, known)
    return [task.predict(item, outcome) for item, outcome in zip(items, outcomes, strict=True)]


def cut_items(lm: Decoder, task: Task[Any]) -> Task[Any]:
    """Return the task with its items as the model's tokenizer cuts them, where they are pieces of a text."""

    def token_ends(text: str) -> Sequence[int]:
        with naming_items([f"of task '{task.name}', its whole text,"]):
            return lm.encode([text])[0].ends

    return task.cut(token_ends, lm.max_positions - len(lm.first_tokens))


def describe_protocol(lm: Decoder, task: Task[Any], asked_for: str, split: str) -> str:
    """Return how items are measured, as the manifest says it, and of whole texts from which token on."""
    named = task.protocol(asked_for, split)
    if not task.scores_whole_texts:
        return named
    return f"{named}, after BOS" if lm.first_tokens else f"{named}, from the second token"


def check_protocol(task: Task[Any], config: EvalConfig) -> None:
    """Refuse another protocol than the default for a task that has no choice of them: it would change nothing."""
    asked_for, default = (task.protocol(name, config.split) for name in (config.protocol, EvalConfig.protocol))
    if config.protocol != EvalConfig.protocol and asked_for == default:
        raise UserError(
            f"eval.protocol={config.protocol} is not used: task '{task.name}' is measured in one way only ({default}); "
            "leave it out"
        )


def require_fit(lm: Decoder, task: Task[Any], split: str, protocol: str) -> None:
    """Refuse a split of which an item, scored as `measure_split` would, is longer than the model has positions for."""
    items = task.items(split)
    with naming_items([item.name for item in items]):
        tokenize_items(lm, [task.asked(item, protocol) for item in items])


def mean_metrics(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Return each metric's mean over the items."""
    names = predictions[0].metrics
    return {name: float(np.mean([prediction.metrics[name] for prediction in predictions])) for name in names}
