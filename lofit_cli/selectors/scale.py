"""LoFiT's first step: heads ranked by the scale that each learns."""

from typing import Any

from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.artifacts.tensors import write_tensors
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.stages import SelectHeadsConfig
from lofit_cli.selectors.all_heads import edit_every_head, learnt_values, score_heads
from lofit_cli.tasks.task import Task
from lofit_cli.training.trainer import train


def score_heads_by_scale(lm: LanguageModel, task: Task[Any], config: SelectHeadsConfig, run: RunDir) -> Tensor:
    """Train a scale on all heads, with an L1 penalty, and return each head's score: (num_layers, max_heads).

    Source: LoFiT (arXiv 2406.01563), section 3.
    """
    edit = edit_every_head("scale", lm, config)
    run.record(num_trained_parameters=edit.num_parameters)
    train(edit, lm, task, config, run)
    scale = learnt_values(edit)
    write_tensors(run.path / "scale.safetensors", "scale", {"scale": scale}, lm.geometry.metadata())
    return score_heads(scale)
