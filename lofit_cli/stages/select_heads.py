"""Stage 1: score every head and select the best."""

from functools import partial
from typing import Any

import torch

from lofit_cli.artifacts.draws import draw_folder
from lofit_cli.artifacts.facts import loaded
from lofit_cli.artifacts.geometry import Geometry
from lofit_cli.artifacts.head_mask import HeadMask, parse_num_heads, select_top
from lofit_cli.artifacts.reuse import begin, content_at
from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.artifacts.seen_items import add_seen
from lofit_cli.errors import UserError
from lofit_cli.evaluation.measure import check_protocol
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.models.kept import load_remembering, load_timed
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.models.weights import describe_model
from lofit_cli.planning.by_config import find_outline, plan_making_by_config
from lofit_cli.planning.making import plan_making
from lofit_cli.planning.plan import Plan
from lofit_cli.report.plots import plot_head_scores, plot_heads_per_layer, plot_training
from lofit_cli.report.results import print_head_mask
from lofit_cli.schema.components import places, shaping
from lofit_cli.schema.stages import SelectHeadsConfig
from lofit_cli.selectors import WITHOUT_LOSS, Selector, get_selector
from lofit_cli.selectors.all_heads import edit_every_head
from lofit_cli.selectors.gates import gate_every_head
from lofit_cli.selectors.random import draw_scores
from lofit_cli.stages.poft import check_poft, weigh_answers
from lofit_cli.tasks import load_task
from lofit_cli.tasks.own_splits import write_splits
from lofit_cli.tasks.task import Task


def select_heads(config: SelectHeadsConfig, run: RunDir) -> HeadMask:
    """Score all heads with the configured selector; write the scores, the mask and their pictures."""
    selector, task = _open(config)
    lm = load_remembering(config.model, config.cache)
    count = parse_num_heads(config.num_heads, lm.geometry)
    run.record(**describe_model(lm), **task.facts(), seed=config.seed, selector=config.selector.name, num_heads=count)
    selector_settings = shaping(config.selector, "draws")
    run.record_settings(selector=selector_settings, task={**task.settings(), "items": task.items_hash()})
    run.record_settings(model=loaded(run.facts))
    run.record(num_trained_parameters=0, num_draws=config.selector.draws)
    begin(run, config, named=[content_at(place) for place in (*places(config.selector), *config.trainer.poft)])
    task = weigh_answers(task, lm, config.trainer.poft)
    write_splits(task, run.path)
    add_seen(run.path, ())
    torch.manual_seed(config.seed)
    scores = _require_scores(selector(lm, task, config, run), config, lm)
    mask = select_top(scores, count)
    if not scores[mask].isfinite().all():
        raise UserError(f"num_heads={config.num_heads} is more than the selector ranks; ask for fewer heads")
    heads = HeadMask(lm.id, lm.geometry, config.selector.name, scores, mask)
    heads.save(run.path)
    _save_draws(config, lm, count, run)
    plot_head_scores(heads.scores, heads.mask, run.path)
    plot_heads_per_layer(heads.mask, run.path)
    if run.has_lines("validation.jsonl"):
        plot_training(run.path)
    print_head_mask(heads)
    return heads


def _open(config: SelectHeadsConfig) -> tuple[Selector, Task[Any]]:
    """Return the selector and the task, refusing what they are not for before the model is loaded."""
    selector, task = get_selector(config.selector), load_task(config.task, config.model)
    name = config.selector.name
    check_protocol(task, config.eval)
    check_poft(task, config.trainer.poft, f"selector={name}", name not in WITHOUT_LOSS)
    return selector, task


def _save_draws(config: SelectHeadsConfig, lm: LanguageModel, num_heads: int, run: RunDir) -> None:
    """Write random selections of as many heads, if any are asked for."""
    for number, scores in enumerate(draw_scores(lm.geometry, config.selector.draws, config.seed)):
        folder = draw_folder(run.path, number)
        folder.mkdir(parents=True, exist_ok=True)
        HeadMask(lm.id, lm.geometry, "random", scores, select_top(scores, num_heads)).save(folder)


def _require_scores(scores: object, config: SelectHeadsConfig, lm: LanguageModel) -> torch.Tensor:
    """Return a selector's scores, minus infinity where there is no head; a plugin's may be anything."""
    every_head = lm.geometry.every_head()
    if not isinstance(scores, torch.Tensor) or scores.shape != every_head.shape or not scores.is_floating_point():
        shape = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
        raise UserError(
            f"selector={config.selector.name} returns {shape} in place of a floating-point score for each head, "
            f"{tuple(every_head.shape)}; mend the selector"
        )
    return scores.masked_fill(~every_head, -torch.inf)


def plan_select_heads(config: SelectHeadsConfig) -> Plan:
    """Return what the stage would take, from a part of its work on the model itself."""
    selector, task = _open(config)
    name = config.selector.name
    if outline := find_outline(config.model):
        return plan_making_by_config(outline, task, config, partial(_count_parameters, name))
    lm, load_seconds = load_timed(config.model)
    parse_num_heads(config.num_heads, lm.geometry)

    def make(few: Task[Any], settings: SelectHeadsConfig, run: RunDir) -> HeadEdit:
        selector(lm, weigh_answers(few, lm, settings.trainer.poft), settings, run)
        # What a selector trains stays its own; a number for each number of each head is what most of ours train.
        if name == "gates":
            return gate_every_head(lm, settings)
        return edit_every_head("offset" if name == "offset_norm" else "scale", lm, settings)

    return plan_making(lm, load_seconds, task, config, "select_heads", make)


def _count_parameters(selector: str, geometry: Geometry) -> int:
    """Return how many numbers a selector trains: a scale or an offset of each head, or both with a gate for each."""
    size = geometry.head_dim
    return geometry.total_heads * {"scale": size, "offset_norm": size, "gates": 2 * size + 2}.get(selector, 0)
