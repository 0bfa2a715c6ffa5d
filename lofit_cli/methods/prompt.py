"""Prompt tuning, and DePT: vectors that stand before every text, trained."""

from typing import Any, cast

import torch
from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.errors import UserError
from lofit_cli.interventions.soft_prompt import SoftPrompt
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.schema.trained_methods import PromptConfig
from lofit_cli.tasks.task import Task
from lofit_cli.training.objective import Objective
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
    if settings.num_vectors >= lm.max_positions:
        raise UserError(
            f"method.num_vectors={settings.num_vectors} is not allowed: model '{lm.id}' has positions for "
            f"{lm.max_positions} tokens; give 1 to {lm.max_positions - 1}"
        )
    # What is scored as a whole has no prompt.
    texts = lm.encode([lm.prompt_text(example.prompt) or example.answers[0] for example in task.examples("train")])
    tokens = sorted({token for text in texts for token in text.tokens})
    drawn = torch.randint(len(tokens), (settings.num_vectors,), generator=generator).tolist()
    edit = SoftPrompt(_embeddings(lm, [tokens[i] for i in drawn]), *_low_rank(lm, settings, generator)).placed(lm)
    _require_room(edit, lm, task, config)
    train(edit, lm, task, config, run)
    return edit


def _require_room(edit: SoftPrompt, lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig) -> None:
    """Refuse an item that has no room behind the vectors, before anything is computed."""
    with edit.attach(lm):
        try:
            for split in ("train", "validation"):
                Objective(lm, task, config.trainer.beta).tokenize(split)
        except UserError as error:
            raise UserError(f"method.num_vectors={len(edit.vectors)} stand before every text: {error}")


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
