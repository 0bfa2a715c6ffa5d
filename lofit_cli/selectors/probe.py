"""Heads ranked by how well a linear probe on them tells right answers from wrong ones, as in ITI."""

from typing import Any

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.console import progress_bar
from lofit_cli.evaluation.contrastive import PROBE_ITERATIONS, Labelled, labelled_activations
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.stages import SelectHeadsConfig
from lofit_cli.tasks.task import Task


def score_heads_by_probe(lm: LanguageModel, task: Task[Any], config: SelectHeadsConfig, run: RunDir) -> Tensor:
    """Return the validation accuracy of a logistic regression on each head's activation: (num_layers, max_heads).

    Source: ITI (arXiv 2306.03341), section 3.1: the activation at the last token of a question with an answer.
    """
    train, validation = read_labelled(lm, task, run)
    geometry = lm.geometry
    scores = torch.zeros(geometry.num_layers, geometry.max_heads)
    with progress_bar("probing heads", geometry.total_heads) as advance:
        for layer, head in geometry.every_head().nonzero():
            scores[layer, head] = probe_accuracy(train, validation, (slice(None), layer, head))
            advance(1)
    return scores


def read_labelled(lm: LanguageModel, task: Task[Any], run: RunDir) -> tuple[Labelled, Labelled]:
    """Return what probes are trained on and what they are scored on."""
    return labelled_activations(lm, task, "train", run), labelled_activations(lm, task, "validation", run)


def probe_accuracy(train: Labelled, validation: Labelled, where: tuple[Any, ...]) -> float:
    """Return the validation accuracy of a logistic regression on some of the activations."""
    features, held_out = (values[where].flatten(1).numpy() for values, _ in (train, validation))
    probe = LogisticRegression(max_iter=PROBE_ITERATIONS).fit(features, train[1].numpy())
    return float(probe.score(held_out, validation[1].numpy()))
