"""What evaluate runs have measured of an intervention, for the card of its export."""

from pathlib import Path

import numpy as np

from lofit_cli.artifacts.evaluations import MeasuredRun, is_of_base, read_evaluations
from lofit_cli.artifacts.manifest import EvaluateManifest, TrainOffsetsManifest
from lofit_cli.artifacts.predictions import metric_unit
from lofit_cli.errors import UserError

Row = tuple[str, str, str, str]


def measured_metrics(runs_dir: Path, intervention: Path, made: TrainOffsetsManifest) -> list[Row]:
    """Return rows of (task, split and protocol; metric; the edited model's mean; the base's, where it was measured).

    Args:
        made: the intervention's; what lay at its path before is not counted.
    """
    try:
        runs = read_evaluations([str(runs_dir / EvaluateManifest.STAGE)])
    except UserError:  # there is none
        return []
    edited = [run for run in runs if _is(run.manifest.intervention, intervention) and run.is_of(made)]
    rows = []
    for run in edited:
        base = next((other for other in runs if is_of_base(other.manifest, vars(run.manifest))), None)
        rows += _rows(run, base)
    return rows


def _is(name: str | None, folder: Path) -> bool:
    return name is not None and Path(name).resolve() == folder.resolve()


def _rows(run: MeasuredRun, base: MeasuredRun | None) -> list[Row]:
    facts = run.manifest
    asked = ", chat template" if facts.uses_chat_template else ""
    asked += "" if facts.system_prompt is None else f", system prompt {facts.system_prompt!r}"
    drawn = "" if facts.num_test is None else f" drawn by task.num_test={facts.num_test}"
    questions = f"{len(run.question_ids)} questions{drawn}"
    where = f"{facts.task}, {facts.split} split, {facts.protocol}, {questions}, computed in {facts.dtype}{asked}"
    return [
        (where, metric, _mean(run, metric), "" if base is None else _mean(base, metric)) for metric in facts.metrics
    ]


def _mean(run: MeasuredRun, metric: str) -> str:
    """Return a metric's mean with its unit; nothing where the run has not measured it."""
    if metric not in run.values:
        return ""
    unit = metric_unit(metric)
    return f"{unit.factor * float(np.mean(run.values[metric])):.{unit.decimals}f} {unit.of_mean}"
