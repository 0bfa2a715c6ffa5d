"""What evaluate runs have measured of an intervention, for the card of its export."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lofit_cli.artifacts.evaluations import SAME_MEASUREMENT, MeasuredRun, read_evaluations
from lofit_cli.artifacts.manifest import MANIFEST
from lofit_cli.errors import UserError

Row = tuple[str, str, str, str]


def measured_metrics(runs_dir: Path, intervention: Path) -> list[Row]:
    """Return rows of (task, split and protocol; metric; the edited model's mean; the base's, where it was measured)."""
    place = runs_dir / "evaluate"
    if not any(place.glob(f"*/{MANIFEST}")):
        return []
    try:
        runs = read_evaluations([str(place)])
    except UserError:
        return []
    edited = [run for run in runs if run.manifest.intervention and _is(run.manifest.intervention, intervention)]
    return [row for run in edited for row in _rows(run, _base_of(run, runs))]


def _is(name: str, folder: Path) -> bool:
    return Path(name).resolve() == folder.resolve()


def _base_of(run: MeasuredRun, runs: Iterable[MeasuredRun]) -> MeasuredRun | None:
    """Return the run of the same model without an intervention on the same questions."""
    for other in runs:
        facts = other.manifest
        is_same = all(getattr(facts, key) == getattr(run.manifest, key) for key in SAME_MEASUREMENT)
        if facts.intervention is None and is_same:
            return other
    return None


def _rows(run: MeasuredRun, base: MeasuredRun | None) -> list[Row]:
    facts = run.manifest
    asked = ", chat template" * facts.uses_chat_template + f", system prompt {facts.system_prompt!r}" * bool(
        facts.system_prompt
    )
    drawn = f" drawn by task.num_test={facts.num_test}" * bool(facts.num_test)
    questions = f"{len(run.question_ids)} questions{drawn}"
    where = f"{facts.task}, {facts.split} split, {facts.protocol}, {questions}, computed in {facts.dtype}{asked}"
    return [
        (where, metric, _mean(run, metric), "" if base is None else _mean(base, metric)) for metric in facts.metrics
    ]


def _mean(run: MeasuredRun, metric: str) -> str:
    return f"{float(np.mean(run.values[metric])):.4f}" if metric in run.values else ""
