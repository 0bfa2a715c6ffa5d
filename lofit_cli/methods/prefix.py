"""Prefix tuning: keys and values that stand before every text, trained."""

from contextlib import ExitStack
from functools import partial
from itertools import chain
from typing import Any, cast

import torch
from torch import Tensor, nn

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.errors import UserError
from lofit_cli.interventions.prefix_edit import PrefixEdit
from lofit_cli.methods.before_texts import draw_tokens, require_room
from lofit_cli.models.hooks import hooked_output
from lofit_cli.models.kept_logits import no_logits
from lofit_cli.models.key_maps import find_key_maps
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.schema.trained_methods import PrefixConfig
from lofit_cli.tasks.task import Task
from lofit_cli.training.trainer import train


def make_prefix(
    lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, head_mask: Tensor, run: RunDir
) -> PrefixEdit:
    """Train keys and values that start as the model's own of tokens that the training prompts hold, drawn by the seed.

    Raises:
        UserError: the model makes keys and values by one map, or has no positions for so many vectors, or for an item
            behind them.

    Source: Li and Liang 2021 (arXiv 2101.00190), who start from activations of real words where data are few.
    """
    num_vectors = cast(PrefixConfig, config.method).num_vectors
    tokens = draw_tokens(lm, task, num_vectors, torch.Generator().manual_seed(config.seed))
    edit = PrefixEdit(*_keys_and_values(lm, tokens)).placed(lm)
    require_room(edit, num_vectors, lm, task, config)
    train(edit, lm, task, config, run)
    return edit


@torch.no_grad()
def _keys_and_values(lm: LanguageModel, tokens: list[int]) -> tuple[list[Tensor], list[Tensor]]:
    """Return what each layer's maps make of a row of tokens: keys and values, (num_tokens, width) float32 each.

    Raises:
        UserError: a layer does not use its maps.
    """
    maps, made = find_key_maps(lm), dict[nn.Module, Tensor]()
    row = torch.tensor([tokens], device=lm.device)
    with ExitStack() as stack:
        for module in chain.from_iterable(maps):
            stack.enter_context(hooked_output(module, partial(made.__setitem__, module)))
        stack.enter_context(lm.token_positions.padded([len(tokens)], row))
        lm.model(input_ids=row, use_cache=False, **no_logits(lm.model))
    if len(made) < len(maps) * 2:
        raise UserError(
            f"model '{lm.id}' has layers that take the keys and values of another layer; choose another model, or "
            "method=prompt"
        )
    keys, values = zip(*maps, strict=True)
    return [made[module][0].float() for module in keys], [made[module][0].float() for module in values]
