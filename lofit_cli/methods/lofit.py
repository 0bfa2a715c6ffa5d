"""LoFiT's second step: one offset vector for each selected head, trained on the model without any scale."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from lofit_cli.artifacts.draws import draw_folder
from lofit_cli.artifacts.finished_runs import read_manifest
from lofit_cli.artifacts.head_mask import HeadMask
from lofit_cli.artifacts.manifest import TrainOffsetsManifest
from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.artifacts.sealed_draws import is_sound, seal_draw
from lofit_cli.artifacts.seen_items import inherit_seen
from lofit_cli.console import say
from lofit_cli.errors import UserError
from lofit_cli.evaluation.contrastive import head_step, labelled_activations
from lofit_cli.interventions.files import load_intervention
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.processes import is_leader
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.schema.trained_methods import LofitConfig
from lofit_cli.sharing import led
from lofit_cli.tasks.task import Task
from lofit_cli.training.side_by_side import num_together, train_side_by_side
from lofit_cli.training.trainer import train


def make_lofit(
    lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, head_mask: Tensor, run: RunDir
) -> HeadEdit:
    """Train an offset on each head of the mask.

    Raises:
        UserError: none of these heads has an offset in the run that they are to start from.
    """
    edit = start_offsets(lm, head_mask, config)
    _note_random(start_from(edit, lm, task, config, run), edit, config)
    train(edit, lm, task, config, run)
    return edit


def refuse_start(config: TrainOffsetsConfig, num_draws: int) -> None:
    """Refuse to start the selected heads from a run, and heads drawn beside them, of which it has none, at random.

    Raises:
        UserError: `method.init` names a run, and there are draws.
    """
    init = cast(LofitConfig, config.method).init
    if num_draws and init not in ("random", "iti"):
        raise UserError(
            f"method.init={init} would start the selected heads from a run and the {num_draws} draws beside them at "
            "random, so that a comparison measures the start; set method.init=random or iti, or select heads without "
            "selector.draws"
        )


def start_offsets(lm: LanguageModel, head_mask: Tensor, config: TrainOffsetsConfig) -> HeadEdit:
    """Return an offset on each head of a mask, small random numbers by the seed."""
    generator = torch.Generator().manual_seed(config.seed)
    start = config.trainer.init_std * torch.randn(int(head_mask.sum()), lm.geometry.head_dim, generator=generator)
    return HeadEdit(lm.geometry, head_mask, offset=start).to(lm.device)


def _note_random(num_started: int, edit: HeadEdit, config: TrainOffsetsConfig) -> None:
    init, count = cast(LofitConfig, config.method).init, len(edit.heads)
    if not num_started:
        raise UserError(
            f"method.init={init} has an offset on none of the {count} selected heads; name a run that shares some, or "
            "select its heads"
        )
    if num_started < count:
        say(
            f"note: {count - num_started} of {count} heads start at random, because method.init={init} has none of them"
        )


def start_from(edit: HeadEdit, lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, run: RunDir) -> int:
    """Give offsets the values that `method.init` names: ITI's steps, another run's, or those that they have.

    Returns:
        how many heads start as `method.init` says.

    Raises:
        UserError: that run has no offsets, or scales beside them.

    Source: to begin where a simpler fit ends is LP-FT's (Tomihari and Sato 2024, arXiv 2405.16747); for offsets it is
        ours.
    """
    settings = cast(LofitConfig, config.method)
    if settings.init == "random" or edit.offset is None:
        return len(edit.heads)
    if settings.init == "iti":
        run.record_settings(start={"init": "iti"})
        activations, is_right = labelled_activations(lm, task, "train", run)
        steps = [head_step(activations[:, layer, head], is_right, "mass_mean") for layer, head in edit.heads]
        edit.offset.data.copy_(settings.alpha * torch.stack(steps))
        return len(edit.heads)
    known = _known_offsets(settings.init, lm)
    manifest = read_manifest(Path(settings.init), TrainOffsetsManifest, "method.init")
    inherit_seen(run, Path(settings.init), manifest)
    run.record_settings(start=manifest.made_by)
    run.record(source_seed=manifest.seed)
    for number, head in enumerate(edit.heads):
        if head in known:
            edit.offset.data[number] = known[head]
    return sum(head in known for head in edit.heads)


def _known_offsets(init: str, lm: LanguageModel) -> dict[tuple[int, int], Tensor]:
    """Return each head's offset, (head_dim,), of the run that `method.init` names."""
    source = load_intervention(init, lm, "method.init")[0]
    if not isinstance(source, HeadEdit) or source.offset is None:
        raise UserError(f"method.init={init} has no offsets to start from; name a run of lofit or iti")
    if source.scale is not None and bool(source.scale.any()):
        raise UserError(
            f"method.init={init} has scales beside its offsets, and method=lofit trains offsets alone; name "
            "a run of lofit or iti"
        )
    return dict(zip(source.heads, source.offset.detach(), strict=True))


def train_draws(
    draws: Sequence[HeadMask], lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, run: RunDir
) -> None:
    """Train an offset on each head of each draw, as `make_lofit` does for the selected heads, and write them.

    Those that the run has already, where it goes on from where it was cut off, are not trained again.
    """
    size = num_together(lm, task, config.trainer.batch_size) if draws else 1
    for first in range(0, len(draws), size):
        numbers = range(first, min(first + size, len(draws)))
        if led(partial(_are_there, run, numbers)):
            continue
        edits = [start_offsets(lm, draws[number].mask, config) for number in numbers]
        for edit in edits:
            start_from(edit, lm, task, config, run)
        which = f"draws {first + 1} to {numbers[-1] + 1}" if len(numbers) > 1 else f"draw {first + 1}"
        title = f"{which} of {len(draws)}"
        train_side_by_side(edits, lm, task, config, title)
        for number, edit in zip(numbers, edits, strict=True):
            _save(edit, draws[number], run, number, lm)


def _are_there(run: RunDir, numbers: Sequence[int]) -> bool:
    return run.continues and all(is_sound(draw_folder(run.path, n), run.facts["content_key"]) for n in numbers)


def _save(edit: HeadEdit, heads: HeadMask, run: RunDir, number: int, lm: LanguageModel) -> None:
    if not is_leader():
        return
    folder = draw_folder(run.path, number)
    folder.mkdir(parents=True, exist_ok=True)
    heads.save(folder)
    edit.save(folder, lm)
    seal_draw(folder, run.facts["content_key"])
