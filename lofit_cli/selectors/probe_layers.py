"""Heads ranked by how well a probe on all heads of their layer tells right answers from wrong ones."""

from typing import Any

import torch
from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.console import progress_bar
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.stages import SelectHeadsConfig
from lofit_cli.selectors.probe import probe_accuracy, read_labelled
from lofit_cli.tasks.task import Task


def score_heads_by_layer_probe(lm: LanguageModel, task: Task[Any], config: SelectHeadsConfig, run: RunDir) -> Tensor:
    """Return the accuracy of a probe on all heads of a layer together, the same for each of its heads.

    Source: LoFiT (arXiv 2406.01563), section 5.2, "probing layers".
    """
    train, validation = read_labelled(lm, task, run)
    geometry = lm.geometry
    scores = torch.zeros(geometry.num_layers, geometry.max_heads)
    layers = [layer for layer, num_heads in enumerate(geometry.heads_per_layer) if num_heads]
    with progress_bar("probing layers", len(layers)) as advance:
        for layer in layers:
            scores[layer] = probe_accuracy(train, validation, (slice(None), layer))
            advance(1)
    return scores
