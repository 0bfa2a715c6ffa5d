"""LoFiT's second step: one offset vector for each kept head, trained on the model without any scale."""

from typing import Any

import torch
from torch import Tensor, nn

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.interventions.head_edit import offset_edit, scatter_heads
from lofit_cli.models.logprobs import LanguageModel
from lofit_cli.schema import TrainOffsetsConfig
from lofit_cli.tasks.task import Task
from lofit_cli.training.fit import Fit


def train_lofit(
    lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, head_mask: Tensor, run: RunDir
) -> Tensor:
    """Train an offset on each head of the mask and return them all: (num_layers, num_heads, head_dim) on the CPU."""
    generator = torch.Generator().manual_seed(config.seed)
    start = config.trainer.init_std * torch.randn(int(head_mask.sum()), lm.geometry.head_dim, generator=generator)
    values = nn.Parameter(start.to(lm.model.device))
    run.record(num_trained_parameters=values.numel())
    mask = head_mask.to(lm.model.device)
    fit = Fit(
        lm,
        task,
        config.trainer,
        config.eval,
        parameter=values,
        build_edit=lambda values: offset_edit(scatter_heads(values, mask), head_mask),
        run=run,
        seed=config.seed,
    )
    fit.train()
    return scatter_heads(values.data, mask).cpu()
