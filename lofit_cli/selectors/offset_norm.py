"""Heads ranked by the offset they learn when all heads learn one: LoFiT's bias-based selection."""

from typing import Any

import torch
from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.models.logprobs import LanguageModel
from lofit_cli.schema import SelectHeadsConfig
from lofit_cli.tasks.task import Task
from lofit_cli.training.fit import Fit


def score_heads_by_offset_norm(lm: LanguageModel, task: Task[Any], config: SelectHeadsConfig, run: RunDir) -> Tensor:
    """Train an offset on every head and return the L2 norm of each: (num_layers, num_heads).

    Source: LoFiT (arXiv 2406.01563), section 5.2, "bias-based selection".
    """
    geometry = lm.geometry
    generator = torch.Generator().manual_seed(config.seed)
    start = config.trainer.init_std * torch.randn(geometry.num_all_heads, geometry.head_dim, generator=generator)
    everywhere = torch.ones(geometry.num_layers, geometry.num_heads)
    edit = HeadEdit(everywhere, offset=start).to(lm.model.device)
    run.record(num_trained_parameters=edit.num_parameters)
    Fit(lm, task, config.trainer, config.eval, edit, run, config.seed).train()
    norms: Tensor = next(edit.parameters()).detach().norm(dim=-1)
    return norms.view(geometry.num_layers, geometry.num_heads).cpu()
