"""Heads ranked by how well a linear probe on them tells right answers from wrong ones, as in ITI."""

from typing import Any, cast

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.console import progress_bar
from lofit_cli.evaluation.contrastive import PROBE_ITERATIONS, Labelled, labelled_activations
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.components import ProbeConfig
from lofit_cli.schema.stages import SelectHeadsConfig
from lofit_cli.selectors.mlp_probe import mlp_accuracy
from lofit_cli.tasks.task import Task


def score_heads_by_probe(lm: LanguageModel, task: Task[Any], config: SelectHeadsConfig, run: RunDir) -> Tensor:
    """Return the validation accuracy of a probe on each head's activation: (num_layers, max_heads).

    Source: ITI (arXiv 2306.03341), section 3.1: a logistic regression on the activation at the last token of a question
        with an answer. NL-ITI (arXiv 2403.18680): a small network on the mean of its last four.
    """
    settings = cast(ProbeConfig, config.selector)
    train, validation = read_labelled(lm, task, run, settings.last_tokens)
    geometry = lm.geometry
    scores = torch.zeros(geometry.num_layers, geometry.max_heads)
    with progress_bar("probing heads", geometry.total_heads) as advance:
        for layer, head in geometry.every_head().nonzero():
            where = (slice(None), layer, head)
            if settings.probe == "mlp":
                own, held_out = ((values[where], is_right) for values, is_right in (train, validation))
                scores[layer, head] = mlp_accuracy(own, held_out, config.seed)
            else:
                scores[layer, head] = probe_accuracy(train, validation, where)
            advance(1)
    return scores


def read_labelled(lm: LanguageModel, task: Task[Any], run: RunDir, last_tokens: int = 1) -> tuple[Labelled, Labelled]:
    """Return what probes are trained on and what they are scored on."""
    train, validation = (labelled_activations(lm, task, split, run, last_tokens) for split in ("train", "validation"))
    return train, validation


def probe_accuracy(train: Labelled, validation: Labelled, where: tuple[Any, ...]) -> float:
    """Return the validation accuracy of a logistic regression on some of the activations."""
    features, held_out = (values[where].flatten(1).numpy() for values, _ in (train, validation))
    probe = LogisticRegression(max_iter=PROBE_ITERATIONS).fit(features, train[1].numpy())
    return float(probe.score(held_out, validation[1].numpy()))
