"""Stage 3: score a split with an intervention attached, or with none."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from lofit_cli.analysis.statistics import Summary, summarise
from lofit_cli.artifacts.draws import draw_folder, list_draws
from lofit_cli.artifacts.evaluations import find_base_run
from lofit_cli.artifacts.files import file_hash, read_json, write_json
from lofit_cli.artifacts.finished_runs import find_latest, read_manifest, require_draws
from lofit_cli.artifacts.leftovers import METRICS
from lofit_cli.artifacts.manifest import TrainOffsetsManifest
from lofit_cli.artifacts.predictions import GeneratedAnswer, Prediction, write_predictions
from lofit_cli.artifacts.reuse import begin
from lofit_cli.artifacts.run_dir import FinishedRun, RunDir
from lofit_cli.artifacts.sealed_draws import is_sound, seal_draw
from lofit_cli.artifacts.seen_items import refuse_seen
from lofit_cli.artifacts.typed import UnfitError, read_typed
from lofit_cli.console import progress_bar, say
from lofit_cli.errors import UserError
from lofit_cli.evaluation.base_model import measure_base_model
from lofit_cli.evaluation.judge import judge_answers, judge_models, judged_metrics
from lofit_cli.evaluation.kept_outcomes import KeptOutcomes
from lofit_cli.evaluation.measure import check_protocol, cut_items, describe_protocol, measure_split
from lofit_cli.interventions.demonstrations import Demonstrations
from lofit_cli.interventions.files import load_intervention, load_intervention_file
from lofit_cli.interventions.intervention import FILE_NAME as INTERVENTION
from lofit_cli.models.kept import list_files, load_remembering, load_timed
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.models.load import check_source
from lofit_cli.models.weights import describe_model, one_name
from lofit_cli.planning.by_config import find_outline, plan_measuring_by_config
from lofit_cli.planning.plan import Plan
from lofit_cli.planning.scoring import plan_measuring
from lofit_cli.report.results import print_answers, print_metrics
from lofit_cli.schema.stages import EvaluateConfig
from lofit_cli.sharing import led
from lofit_cli.tasks import load_task
from lofit_cli.tasks.own_splits import write_splits
from lofit_cli.tasks.task import Task

BASE_MODEL: dict[str, Any] = {"method": "none", "num_trained_parameters": 0, "made_by": {}}
"""What the manifest says where no intervention is measured."""


def evaluate(config: EvaluateConfig, run: RunDir) -> Sequence[Prediction]:
    """Measure every item of a split; write a row an item and the metrics with standard errors."""
    task, judges = _open(config)
    folder = _find_edit(config, task)
    lm = load_remembering(config.model, config.cache)
    task = cut_items(lm, task)
    items = task.items(config.eval.split)
    edit, facts = load_intervention(folder, lm) if folder else (Demonstrations(), BASE_MODEL)
    run.record(**describe_model(lm), **{**task.facts(), "seed": config.seed, **facts})
    run.record(metrics=[*task.metrics, *judged_metrics(judges)], intervention=str(folder) if folder else None)
    protocol = describe_protocol(lm, task, config.eval.protocol, config.eval.split)
    run.record(protocol=protocol, split=config.eval.split, questions_hash=task.questions_hash(config.eval.split))
    run.record(num_test=config.task.num_test if config.eval.split == "test" else None)
    run.record(judges={metric: one_name(name) for metric, name in judges.items()})
    show = partial(print_metrics, facts["method"], task.name, protocol, config.eval.split)
    try:
        begin(run, config, intervention=_content(folder), judges=_judge_files(judges))
    except FinishedRun as finished:
        show(_read_summaries(finished.path))
        raise
    write_splits(task, run.path)
    measure = partial(measure_split, demonstrations=edit.demonstrations) if folder else measure_base_model
    with edit.attach(lm), progress_bar(f"scoring {config.eval.split}", len(items)) as advance:
        predictions = measure(lm, task, config.eval.split, config.eval.protocol, advance, known=KeptOutcomes(run))
    if folder:
        with run.timing("draw_seconds"):
            _measure_draws(config, list_draws(folder, INTERVENTION), lm, task, run)
    if judges:
        write_predictions(run.path, predictions)
        # A judge is as large as what it judges; there may be room for one of them only.
        del lm, edit
        answered = [prediction for prediction in predictions if isinstance(prediction, GeneratedAnswer)]
        predictions = judge_answers(judges, config.model, answered)
    show(_write(predictions, task.derive(predictions), run))
    if folder:
        _show_texts(config, run, predictions)
    return predictions


def _open(config: EvaluateConfig) -> tuple[Task[Any], dict[str, str]]:
    """Return the task and the judges, refusing what these are not for."""
    task = load_task(config.task, config.model)
    check_protocol(task, config.eval)
    return task, _judges(config, task)


def _find_edit(config: EvaluateConfig, task: Task[Any]) -> Path | None:
    """Return the run directory of the intervention, refusing one that has learnt from the test items."""
    folder = _intervention_dir(config, task.facts())
    task.items(config.eval.split)  # refuses a split that is not there before the model is loaded
    if config.eval.split == "test":
        _refuse_training_items(task, folder)
    return folder


def _write(predictions: Sequence[Prediction], derived: dict[str, float], run: RunDir) -> dict[str, Summary]:
    """Write predictions and their metrics' means, and return these.

    Args:
        derived: what the means themselves give, whose error the items' own spread does not tell.
    """
    summaries = _summarise(predictions)
    summaries |= {name: Summary(value, None, len(predictions)) for name, value in derived.items()}
    write_predictions(run.path, predictions)
    write_json(run.path / METRICS, {name: asdict(summary) for name, summary in summaries.items()})
    return summaries


def _content(folder: Path | None) -> list[str]:
    """Return what tells interventions apart: hashes of the one to be measured, and of the draws beside it."""
    if folder is None:
        return []
    manifest = read_manifest(folder, TrainOffsetsManifest, "intervention")
    draws = require_draws(folder, manifest, INTERVENTION)
    return [file_hash(file) for file in (folder / INTERVENTION, *draws)]


def _measure_draws(
    config: EvaluateConfig, files: Sequence[Path], lm: LanguageModel, task: Task[Any], run: RunDir
) -> None:
    """Measure each draw's offsets on the same items, unless this run has done so before it was cut off."""
    split, protocol = config.eval.split, config.eval.protocol
    with progress_bar(f"scoring {split} under draws", len(files) * len(task.items(split))) as advance:
        for number, file in enumerate(files):
            made = draw_folder(run.path, number)
            if run.continues and led(partial(is_sound, made, run.facts["content_key"])):
                advance(len(task.items(split)))
                continue
            with load_intervention_file(file.parent, lm).attach(lm):
                predictions = measure_split(lm, task, split, protocol, advance)
            made.mkdir(parents=True, exist_ok=True)
            write_predictions(made, predictions)
            seal_draw(made, run.facts["content_key"])


def _show_texts(config: EvaluateConfig, run: RunDir, predictions: Sequence[Prediction]) -> None:
    """Print a few of the generated texts, beside the base model's where these are there already."""
    if texts := [prediction for prediction in predictions if isinstance(prediction, GeneratedAnswer)]:
        print_answers(run.facts["method"], texts, find_base_run(Path(config.runs_dir), run.facts))


def _summarise(predictions: Sequence[Prediction]) -> dict[str, Summary]:
    """Return each metric's mean over the items, with its standard error."""
    names = predictions[0].metrics
    return {name: summarise([prediction.metrics[name] for prediction in predictions]) for name in names}


def _read_summaries(folder: Path) -> dict[str, Summary]:
    file = folder / METRICS
    try:
        return {name: read_typed(Summary, found) for name, found in read_json(file).items()}
    except (AttributeError, TypeError, UnfitError) as error:
        raise UserError(f"{file} holds no summaries ({error}); evaluate again with force=true")


def _judges(config: EvaluateConfig, task: Task[Any]) -> dict[str, str]:
    """Return the judges that are set, refusing them where the task has no answers to judge or one can't be loaded."""
    judges = judge_models(config.eval)
    for metric, name in judges.items():
        if not task.can_be_judged:
            raise UserError(
                f"eval.judge_{metric}={name} is for a task that is answered openly; add task=truthfulqa_generation"
            )
        check_source(name, f"eval.judge_{metric}")
    return judges


def _judge_files(judges: dict[str, str]) -> dict[str, Any]:
    """Return what tells that a judge has become another one under the same name."""
    return {metric: list_files(Path(check_source(name, f"eval.judge_{metric}"))) for metric, name in judges.items()}


def _refuse_training_items(task: Task[Any], folder: Path | None) -> None:
    """Refuse to test an intervention on what it has learnt from; what a benchmark itself repeats is only noted."""
    test, own = task.fingerprints("test"), task.fingerprints("train", "validation")
    if repeated := len(test & own):
        say(
            f"note: {repeated} of the {len(test)} test items stand in this benchmark's training or validation split too"
        )
    if folder:
        refuse_seen(folder, test - own)


def _intervention_dir(config: EvaluateConfig, task: dict[str, Any]) -> Path | None:
    """Return the run directory that `intervention` names, or None for the model as it is."""
    if config.intervention == "none":
        return None
    if config.intervention != "latest":
        read_manifest(Path(config.intervention), TrainOffsetsManifest, "intervention")
        return Path(config.intervention)
    facts = {**task, **config.model.asking, "seed": config.seed}
    folder = find_latest(Path(config.runs_dir), TrainOffsetsManifest, config.model.id, facts, one_name)
    say(f"intervention=latest: taking {folder}")
    return folder


def plan_evaluate(config: EvaluateConfig) -> Plan:
    """Return what the stage would take, from a part of its work on the model itself."""
    task, judges = _open(config)
    if outline := find_outline(config.model):
        return plan_measuring_by_config(outline, task, config)
    folder = _find_edit(config, task)
    lm, load_seconds = load_timed(config.model)
    task = cut_items(lm, task)
    edit = load_intervention(folder, lm)[0] if folder else Demonstrations()
    plan = plan_measuring(lm, load_seconds, task, config.eval.split, config.eval.protocol, edit)
    notes = ["the judges' time and memory are not in it"] if judges else []
    if folder and (draws := len(list_draws(folder, INTERVENTION))):
        notes.append(f"each of the {draws} draws takes as long as the scoring again")
    return replace(plan, notes=(*plan.notes, *notes))
