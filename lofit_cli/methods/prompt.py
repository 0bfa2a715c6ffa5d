"""Prompt tuning, and DePT: vectors that stand before every text, trained."""

from typing import Any, cast

import torch
from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.interventions.soft_prompt import SoftPrompt
from lofit_cli.methods.before_texts import draw_tokens, require_room
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.schema.trained_methods import PromptConfig
from lofit_cli.tasks.task import Task
from lofit_cli.training.trainer import train


def make_prompt(
    lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, head_mask: Tensor, run: RunDir
) -> SoftPrompt:
    """Train vectors that start as the embeddings of tokens that the training prompts hold, drawn by the seed.

    With `method.rank` there is DePT's product of two small matrices besides, which starts at 0.

    Raises:
        UserError: the model has no positions for so many vectors, or for an item behind them.

    Source: Lester et al. 2021 (arXiv 2104.08691), section 3.2, "sampled vocabulary"; DePT (arXiv 2309.05173).
    """
    settings, generator = cast(PromptConfig, config.method), torch.Generator().manual_seed(config.seed)
    tokens = draw_tokens(lm, task, settings.num_vectors, generator)
    edit = SoftPrompt(_embeddings(lm, tokens), *_low_rank(lm, settings, generator)).placed(lm)
    require_room(edit, settings.num_vectors, lm, task, config)
    train(edit, lm, task, config, run)
    return edit


def _embeddings(lm: LanguageModel, tokens: list[int]) -> Tensor:
    """Return what the model makes of tokens before its first layer: (num_tokens, hidden) float32."""
    found: Tensor = lm.model.get_input_embeddings()(torch.tensor([tokens], device=lm.device))
    return found[0].detach().float().clone()


def _low_rank(
    lm: LanguageModel, settings: PromptConfig, generator: torch.Generator
) -> tuple[Tensor | None, Tensor | None, float]:
    if not settings.rank:
        return None, None, 1.0
    rows = torch.randn(settings.num_shifted, settings.rank, generator=generator) / settings.rank**0.5
    return rows, torch.zeros(settings.rank, lm.hidden_size), settings.low_rank_rate
