"""Measuring the model as it is, which is the same in every run and so is done once on a machine."""

import hashlib
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lofit_cli.artifacts.outcomes import Outcomes
from lofit_cli.artifacts.predictions import LogProb, Prediction
from lofit_cli.errors import naming_items
from lofit_cli.evaluation.measure import measure_split
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.generation import encode_prompts
from lofit_cli.models.logprobs import tokenize_items
from lofit_cli.models.packing import TokenSequence
from lofit_cli.models.remembered import remembered
from lofit_cli.tasks.task import Task


def measure_base_model(
    lm: Decoder, task: Task[Any], split: str, protocol: str, report: Callable[[int], None], known: Outcomes
) -> Sequence[Prediction]:
    """Return what `measure_split` does, of a model without an intervention; it may have been measured before.

    A run that goes on does so by itself: what it has written down may have been computed on other threads.
    """
    if known.known or not lm.remembers:
        return measure_split(lm, task, split, protocol, report, known=known)
    items = task.items(split)
    asked = _tokenize(lm, task, split, protocol)

    def measure() -> dict[str, Tensor]:
        measure_split(lm, task, split, protocol, report, known=known)
        return _as_tensors([known.known[number] for number in range(len(items))])

    if task.generates:
        told = {"max_new_tokens": task.config.max_new_tokens, "reads": _describe_reading(lm)}
        outcomes: Sequence[Any] = _as_texts(remembered(lm, "texts", asked, measure, **told))
    else:
        outcomes = _as_scores(remembered(lm, "scores", asked, measure), [len(answers) for answers in asked])
    report(len(items) - len(known.known))
    return [task.predict(item, outcome) for item, outcome in zip(items, outcomes, strict=True)]


def _tokenize(lm: Decoder, task: Task[Any], split: str, protocol: str) -> list[list[TokenSequence]]:
    """Return, for each item, its answers' token sequences, or its prompt's where an answer is generated."""
    items = task.items(split)
    with naming_items([item.name for item in items]):
        if task.generates:
            prompts = [task.prompt(item, protocol) for item in items]
            return [[TokenSequence(tuple(tokens), len(tokens))] for tokens in encode_prompts(lm, prompts)]
        return tokenize_items(lm, [task.asked(item, protocol) for item in items])


def _describe_reading(lm: Decoder) -> list[Any]:
    """Return what makes generated tokens a text: where it ends, and how the tokenizer writes it."""
    tokenizer: PreTrainedTokenizerBase = lm.tokenizer
    whole = hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()
    return [lm.end_tokens, whole, tokenizer.all_special_ids, tokenizer.clean_up_tokenization_spaces]


def _as_tensors(outcomes: Sequence[Any]) -> dict[str, Tensor]:
    """Return texts as UTF-8 with their ends, or log-probabilities with their numbers of tokens."""
    if outcomes and isinstance(outcomes[0], str):
        texts = [text.encode("utf-8", "surrogatepass") for text in outcomes]
        letters = np.frombuffer(bytearray(b"".join(texts)), dtype=np.uint8)
        return {"texts": torch.from_numpy(letters), "ends": torch.tensor(list(accumulate(map(len, texts))))}
    flat: list[LogProb] = [value for values in outcomes for value in values]
    log_probs = torch.tensor([float(value) for value in flat], dtype=torch.float64)
    return {"log_probs": log_probs, "num_tokens": torch.tensor([value.num_tokens for value in flat])}


def _as_texts(found: dict[str, Tensor]) -> list[str]:
    letters = found["texts"].numpy().tobytes()
    return [letters[a:b].decode("utf-8", "surrogatepass") for a, b in pairwise([0, *found["ends"].tolist()])]


def _as_scores(found: dict[str, Tensor], num_answers: Sequence[int]) -> list[list[LogProb]]:
    """Return each item's log-probabilities.

    Args:
        num_answers: of each item.
    """
    values = map(LogProb, found["log_probs"].tolist(), found["num_tokens"].tolist())
    return [[next(values) for _ in range(number)] for number in num_answers]
