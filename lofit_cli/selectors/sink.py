"""Heads ranked by how fast the loss falls as they attend more, or less, to the first token."""

from typing import Any

import torch
from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.artifacts.seen_items import add_seen
from lofit_cli.console import progress_bar, say
from lofit_cli.interventions.sink_edit import SinkEdit
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.stages import SelectHeadsConfig
from lofit_cli.sharing import add_up
from lofit_cli.tasks.task import Task
from lofit_cli.training.objective import Objective


def score_heads_by_sink(lm: LanguageModel, task: Task[Any], config: SelectHeadsConfig, run: RunDir) -> Tensor:
    """Return the slope of the training loss along each head's log gamma: (num_layers, max_heads).

    Heads that gain from attending more and heads that gain from attending less are not mixed: the kind with more of
    them has positive scores.

    Source: ZeroTuning (arXiv 2505.11739), which tries one gamma head by head; a slope is that to first order, for all
        heads in one pass.
    """
    every_head = lm.geometry.every_head()
    edit = SinkEdit(lm.geometry, every_head, torch.zeros(int(every_head.sum()))).placed(lm)
    objective = Objective(lm, task, config.trainer.beta)
    items = objective.prepare("train")
    add_seen(run.path, (item.fingerprint for item in task.items("train")))
    size = config.trainer.batch_size
    with edit.attach(lm), progress_bar("slopes", len(items)) as advance:
        for first in range(0, len(items), size):
            objective.loss(items[first : first + size], backward=True)
            advance(len(items[first : first + size]))
    # A process that had no item of its own has no gradient yet.
    gradient = torch.zeros_like(edit.log_gamma) if edit.log_gamma.grad is None else edit.log_gamma.grad
    add_up([], [gradient])
    slopes = torch.zeros(every_head.shape)
    slopes[every_head] = -gradient.cpu()
    wants_more = bool(slopes.sign().sum() >= 0)
    say(f"selector=sink: heads that gain from attending {'more' if wants_more else 'less'} to the first token are more")
    return slopes if wants_more else -slopes
