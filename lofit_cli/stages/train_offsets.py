"""Stage 2: make an intervention: train offsets on the selected heads, or whatever else the method makes."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lofit_cli.artifacts.draws import list_draws
from lofit_cli.artifacts.facts import loaded
from lofit_cli.artifacts.files import content_hash, file_hash
from lofit_cli.artifacts.finished_runs import find_latest, read_manifest, read_selection, require_draws
from lofit_cli.artifacts.geometry import Geometry
from lofit_cli.artifacts.head_mask import FILE_NAME, HeadMask, parse_num_heads, select_top
from lofit_cli.artifacts.manifest import SelectHeadsManifest
from lofit_cli.artifacts.reuse import begin, content_at
from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.artifacts.seen_items import add_seen, inherit_seen
from lofit_cli.console import say
from lofit_cli.errors import UserError
from lofit_cli.evaluation.measure import check_protocol
from lofit_cli.interventions.intervention import FILE_NAME as INTERVENTION
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.methods import METHODS, Method, get_method
from lofit_cli.methods.lofit import refuse_start, train_draws
from lofit_cli.models.kept import load_remembering, load_timed
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.models.weights import describe_model, one_name
from lofit_cli.planning.by_config import find_outline, plan_making_by_config
from lofit_cli.planning.making import plan_making
from lofit_cli.planning.plan import Plan
from lofit_cli.processes import is_leader
from lofit_cli.report.plots import plot_heads_per_layer, plot_training
from lofit_cli.schema.components import places, shaping
from lofit_cli.schema.stages import SelectHeadsConfig, TrainOffsetsConfig
from lofit_cli.stages.poft import check_poft, weigh_answers
from lofit_cli.tasks import load_task
from lofit_cli.tasks.own_splits import write_splits
from lofit_cli.tasks.task import Task


def train_offsets(config: TrainOffsetsConfig, run: RunDir) -> Intervention:
    """Make the configured method's intervention; write it with the head mask it is for and the training curve."""
    method, task = _open(config)
    file = _head_mask_file(config, method, task.facts())
    lm = load_remembering(config.model, config.cache)
    run.record(**describe_model(lm), **task.facts(), seed=config.seed, method=config.method.name, label=config.label)
    run.record_settings(method=shaping(config.method, "name"), task={**task.settings(), "items": task.items_hash()})
    run.record_settings(model=loaded(run.facts))
    heads = _take_heads(config, file, lm, run) if file else None
    draws = _load_draws(config, file, lm) if file else []
    run.record(num_draws=len(draws))
    named = [content_at(place) for place in (*places(config.method), *config.trainer.poft)]
    begin(run, config, head_mask=file, draws=[heads.ranked_heads() for heads in draws], named=named)
    task = weigh_answers(task, lm, config.trainer.poft)
    write_splits(task, run.path)
    if file and heads:
        _write_heads(heads, file, run)
    add_seen(run.path, ())
    torch.manual_seed(config.seed)
    edit = method.make(lm, task, config, heads.mask if heads else lm.geometry.every_head(), run)
    if not isinstance(edit, Intervention):
        raise UserError(
            f"method={config.method.name} makes a {type(edit).__name__}, not an Intervention; mend its package"
        )
    run.record(num_trained_parameters=edit.num_parameters)
    if is_leader():
        edit.save(run.path, lm)
        run.record(intervention_hash=file_hash(run.path / INTERVENTION))
    with run.timing("draw_seconds"):
        train_draws(draws, lm, task, config, run)
    if run.has_lines("validation.jsonl"):
        plot_training(run.path)
    say(f"method {config.method.name} has {edit.num_parameters:,} trainable parameters")
    return edit


def _open(config: TrainOffsetsConfig) -> tuple[Method, Task[Any]]:
    """Return the method and the task, refusing what they are not for before the model is loaded."""
    method = get_method(config.method)
    if config.model.tp and not method.edits_parts:
        raise UserError(
            f"method={config.method.name} is not for model.tp={config.model.tp}; leave that out, or choose of "
            f"{', '.join(name for name, other in METHODS.items() if other.edits_parts)}"
        )
    task = load_task(config.task, config.model)
    check_protocol(task, config.eval)
    check_poft(task, config.trainer.poft, f"method={config.method.name}", method.trains)
    return method, task


def _take_heads(config: TrainOffsetsConfig, file: Path, lm: LanguageModel, run: RunDir) -> HeadMask:
    """Return the selected heads, stating where they come from."""
    heads = _load_heads(file, config.num_heads, lm)
    selection = read_selection(file)
    run.record(selector=heads.selector, num_heads=int(heads.mask.sum()), head_mask=str(file))
    if selection:
        run.record(selection_seconds=selection.own_seconds, selection_seed=selection.heads_seed)
    run.record_settings(
        selection=selection.made_by if selection else {"heads": content_hash(heads.ranked_heads())[:12]}
    )
    return heads


def _load_draws(config: TrainOffsetsConfig, file: Path, lm: LanguageModel) -> list[HeadMask]:
    """Return the random selections beside the selected heads; only LoFiT's offsets are trained on them."""
    selection = read_selection(file)
    files = require_draws(file.parent, selection, FILE_NAME) if selection else list_draws(file.parent, FILE_NAME)
    if files and config.method.name != "lofit":
        say(f"note: the {len(files)} draws of {file.parent} are for method=lofit, and left out")
        return []
    if files:
        refuse_start(config, len(files))
    return [_load_heads(draw, config.num_heads, lm) for draw in files]


def _write_heads(heads: HeadMask, file: Path, run: RunDir) -> None:
    """Copy the selected heads, with what their selection has seen, into the run directory."""
    heads.save(run.path)
    inherit_seen(run, file, read_selection(file))
    plot_heads_per_layer(heads.mask, run.path)


def _head_mask_file(config: TrainOffsetsConfig, method: Method, task: dict[str, Any]) -> Path | None:
    """Return the file that `head_mask` names, a run directory's, a file, or the latest run's; None if none is taken."""
    if not method.takes_heads:
        for key, value, default in (("head_mask", config.head_mask, "latest"), ("num_heads", config.num_heads, None)):
            if value != default:
                raise UserError(f"{key}={value} is not used: method {config.method.name} takes no heads; leave it out")
        return None
    if config.head_mask == "latest":
        facts = {**task, **config.model.asking, "seed": config.seed}
        folder = find_latest(Path(config.runs_dir), SelectHeadsManifest, config.model.id, facts, one_name)
        say(f"head_mask=latest: taking {folder}")
        return folder / FILE_NAME
    path = Path(config.head_mask)
    if path.is_file():
        return path
    read_manifest(path, SelectHeadsManifest, "head_mask")
    return path / FILE_NAME


def _load_heads(file: Path, num_heads: str | None, lm: LanguageModel) -> HeadMask:
    """Read a head mask; with `num_heads`, take that many of the best heads instead of those it selects."""
    heads = HeadMask.load(file, lm.id, lm.geometry)
    if heads.model_id != lm.id:
        say(f"note: the head mask comes from model '{heads.model_id}', this run uses '{lm.id}'")
    if num_heads is None:
        return heads
    mask = select_top(heads.scores, parse_num_heads(num_heads, lm.geometry))
    if not heads.scores[mask].isfinite().all():
        raise UserError(f"num_heads={num_heads} is more than head mask {file} ranks; select heads with scores first")
    return HeadMask(heads.model_id, heads.geometry, heads.selector, heads.scores, mask)


def plan_train_offsets(config: TrainOffsetsConfig) -> Plan:
    """Return what the stage would take, from a part of its work on the model itself."""
    method, task = _open(config)
    if outline := find_outline(config.model):
        named = None if config.head_mask == "latest" else _head_mask_file(config, method, task.facts())
        return plan_making_by_config(outline, task, config, partial(_count_parameters, config, method, named))
    file = _head_mask_file(config, method, task.facts())
    lm, load_seconds = load_timed(config.model)
    head_mask = _load_heads(file, config.num_heads, lm).mask if file else lm.geometry.every_head()

    def make(few: Task[Any], settings: TrainOffsetsConfig, run: RunDir) -> Intervention:
        return method.make(lm, weigh_answers(few, lm, settings.trainer.poft), settings, head_mask, run)

    plan, draws = plan_making(lm, load_seconds, task, config, "train_offsets", make), _count_draws(config, file)
    notes = (f"each of the {draws} draws takes as long as the training again",) if draws else ()
    return replace(plan, notes=(*plan.notes, *notes))


def _count_draws(config: TrainOffsetsConfig, file: Path | None) -> int:
    if not file or config.method.name != "lofit":
        return 0
    number = len(list_draws(file.parent, FILE_NAME))
    refuse_start(config, number)
    return number


def _count_parameters(
    config: TrainOffsetsConfig, method: Method, head_mask: Path | None, geometry: Geometry
) -> int | None:
    """Return how many numbers LoFiT trains; with as many heads as are selected by default, where none are named."""
    if not method.trains:
        return 0
    if config.method.name != "lofit":
        return None
    if head_mask and config.num_heads is None:
        is_list = head_mask.suffix == ".json"
        heads = HeadMask.load(head_mask, config.model.id, geometry) if is_list else HeadMask.read(head_mask)
        return int(heads.mask.sum()) * geometry.head_dim
    return parse_num_heads(config.num_heads or SelectHeadsConfig.num_heads, geometry) * geometry.head_dim
