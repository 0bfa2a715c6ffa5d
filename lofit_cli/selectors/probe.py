"""Heads ranked by how well a linear probe on them tells right answers from wrong ones, as in ITI."""

from typing import Any

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.artifacts.seen_items import add_seen
from lofit_cli.models.activations import last_token_activations
from lofit_cli.models.logprobs import LanguageModel, tokenize_items
from lofit_cli.report.progress import progress_bar
from lofit_cli.schema import SelectHeadsConfig
from lofit_cli.tasks.task import Task

MAX_ITERATIONS = 1000
"""As in ITI's code (Li et al. 2023, arXiv 2306.03341)."""


def score_heads_by_probe(lm: LanguageModel, task: Task[Any], config: SelectHeadsConfig, run: RunDir) -> Tensor:
    """Return the validation accuracy of a logistic regression on each head's activation: (num_layers, num_heads).

    Source: ITI (arXiv 2306.03341), section 3.1: the activation at the last token of a question with an answer.
    """
    train, validation = _labelled_activations(lm, task, run)
    geometry = lm.geometry
    scores = torch.zeros(geometry.num_layers, geometry.num_heads)
    with progress_bar("probing heads", geometry.num_all_heads) as advance:
        for layer in range(geometry.num_layers):
            for head in range(geometry.num_heads):
                scores[layer, head] = _probe_accuracy(train, validation, (slice(None), layer, head))
                advance(1)
    return scores


def score_heads_by_layer_probe(lm: LanguageModel, task: Task[Any], config: SelectHeadsConfig, run: RunDir) -> Tensor:
    """Return the accuracy of a probe on all heads of a layer together, the same for each of its heads.

    Source: LoFiT (arXiv 2406.01563), section 5.2, "probing layers".
    """
    train, validation = _labelled_activations(lm, task, run)
    geometry = lm.geometry
    scores = torch.zeros(geometry.num_layers, geometry.num_heads)
    with progress_bar("probing layers", geometry.num_layers) as advance:
        for layer in range(geometry.num_layers):
            scores[layer] = _probe_accuracy(train, validation, (slice(None), layer))
            advance(1)
    return scores


Labelled = tuple[Tensor, Tensor]
"""Activations (num_answers, num_layers, num_heads, head_dim), and whether each answer is right (num_answers,)."""


def _labelled_activations(lm: LanguageModel, task: Task[Any], run: RunDir) -> tuple[Labelled, Labelled]:
    """Return what probes are trained and what they are scored on, and list it as seen."""
    splits = ("train", "validation")
    add_seen(run.path, (item.fingerprint for split in splits for item in task.items(split)))
    train, validation = (_split_activations(lm, task, split) for split in splits)
    return train, validation


def _split_activations(lm: LanguageModel, task: Task[Any], split: str) -> Labelled:
    contrasts = task.contrasts(split)
    tokenized = tokenize_items(lm, [(contrast.prompt, contrast.answers) for contrast in contrasts])
    sequences = [sequence for item in tokenized for sequence in item]
    right = [i < contrast.num_chosen for contrast in contrasts for i in range(len(contrast.answers))]
    with progress_bar(f"head activations, {split}", len(sequences)) as advance:
        return last_token_activations(lm, sequences, advance), torch.tensor(right)


def _probe_accuracy(train: Labelled, validation: Labelled, where: tuple[Any, ...]) -> float:
    features, held_out = (values[where].flatten(1).numpy() for values, _ in (train, validation))
    probe = LogisticRegression(max_iter=MAX_ITERATIONS).fit(features, train[1].numpy())
    return float(probe.score(held_out, validation[1].numpy()))
