"""`lofit runs`: what was run, how it ended and what it measured; what is of no use any more can be removed."""

import json
import os
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from rich.filesize import decimal

from lofit_cli.analysis.grouping import name_method
from lofit_cli.analysis.intervals import Interval, mean_interval
from lofit_cli.artifacts.files import read_sealed
from lofit_cli.artifacts.finished_runs import read_manifest, require_unchanged
from lofit_cli.artifacts.leftovers import LOCK, held, remove_entries
from lofit_cli.artifacts.listing import SUPERSEDED, ListedRun, find_runs
from lofit_cli.artifacts.manifest import FINISHED, MANIFEST, EvaluateManifest
from lofit_cli.artifacts.predictions import FILE_NAME, metric_scale, metric_unit, read_metrics
from lofit_cli.console import say, show_text
from lofit_cli.errors import UserError, did_you_mean

FIELDS = ("stage", "status", "task", "method", "model")
PRUNED = ("failed", SUPERSEDED)
UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1), "min": timedelta(minutes=1), "s": timedelta(seconds=1)}


def list_runs(filters: Sequence[str], as_json: bool) -> list[ListedRun]:
    """Print the runs that fit every filter, the newest last, and return them.

    Args:
        filters: words that a run's directory or fields hold, or FIELD=VALUE; `runs_dir=FOLDER` says where to look.

    Raises:
        UserError: a filter names no field, or there is no such folder.
    """
    folders = [text.removeprefix("runs_dir=") for text in filters if text.startswith("runs_dir=")]
    wanted = [text for text in filters if not text.startswith("runs_dir=")]
    runs = [run for run in find_runs(Path((folders or ["runs"])[-1])) if all(_fits(run, text) for text in wanted)]
    if as_json:
        show_text(json.dumps([_record(run) for run in runs], indent=2) + "\n")
    else:
        _show(runs)
    return runs


def prunable(runs: Sequence[ListedRun]) -> list[ListedRun]:
    """Return the runs that failed, and those that a later run of the same content stands for."""
    return [run for run in runs if run.status in PRUNED]


def remove_runs(runs: Sequence[ListedRun]) -> None:
    """Remove run directories, but for those that a process has begun to write again since they were listed."""
    removed = [run for run in runs if _remove(run)]
    say(f"removed {len(removed)} run directories, {decimal(sum(run.num_bytes for run in removed))}")


def _remove(run: ListedRun) -> bool:
    """Remove a run directory, its manifest last, so that one whose removal is cut off is listed as it was."""
    try:
        with held(run.path):
            if read_sealed(run.path / MANIFEST) != run.content:
                raise UserError(f"{run.path} is another run by now")
            remove_entries(
                run.path, *(entry.name for entry in run.path.iterdir() if entry.name not in (MANIFEST, LOCK))
            )
            shutil.rmtree(run.path)
    except (UserError, OSError) as error:
        say(f"note: {_place(run)} stays: {error}")
        return False
    return True


def _fits(run: ListedRun, text: str) -> bool:
    name, is_field, value = text.partition("=")
    if not is_field:
        return any(text in str(part) for part in (run.path, *(getattr(run, field) for field in FIELDS)))
    if name not in FIELDS:
        raise UserError(f"{text}: {name} is no field of a run; {did_you_mean(name, (*FIELDS, 'runs_dir'))}")
    return str(getattr(run, name)) == value


def _show(runs: Sequence[ListedRun]) -> None:
    """Print two lines a run, which fit any terminal: where it is, and what it is."""
    show_text("".join(f"{_place(run)}\n  {_describe(run)}\n" for run in runs))
    say(f"{len(runs)} run{'s' * (len(runs) != 1)}")
    unfinished = [run for run in runs if run.status in ("killed", "interrupted") and run.can_go_on]
    if unfinished:
        example = f"lofit {(unfinished[-1].stage or 'STAGE').replace('_', '-')} resume={_place(unfinished[-1])}"
        say(f"{len(unfinished)} of them can go on from where they stopped: the same command again, or {example}")


def _describe(run: ListedRun) -> str:
    """Return how a run ended and when, what it was, its size, and what it measured."""
    age = _age(run)
    method = name_method(run.method) if run.method else None
    named = (("", method), ("on ", run.task), ("with ", run.model))
    what = " ".join(f"{word}{name}" for word, name in named if name)
    measured = _measure(run)
    parts = [f"{run.status} {age}".strip(), *([what] if what else []), decimal(run.num_bytes)]
    return ", ".join(parts) + (f": {_result(*measured)}" if measured else "")


def _place(run: ListedRun) -> str:
    return os.path.relpath(run.path)


def _result(metric: str, mean: float, interval: Interval) -> str:
    """Return a metric with its 95 % interval, in percent or its own unit."""
    unit = metric_unit(metric)
    value, low, high = (f"{unit.factor * number:.{unit.decimals}f}" for number in (mean, interval.low, interval.high))
    return f"{metric.upper()} {value} {unit.of_mean} [{low}, {high}]"


def _measure(run: ListedRun) -> tuple[str, float, Interval] | None:
    """Return an evaluation's first metric with its mean and interval; None where there is none that can be read."""
    if run.stage != EvaluateManifest.STAGE or run.status not in (FINISHED, SUPERSEDED):
        return None
    try:
        metric = read_manifest(run.path, EvaluateManifest, "runs").metrics[0]
        require_unchanged(run.path, FILE_NAME)
        values = read_metrics(run.path, [metric]).values[metric]
    except (UserError, IndexError):
        return None
    return metric, float(np.mean(values)), mean_interval({0: values}, Interval(*metric_scale(metric)))


def _age(run: ListedRun) -> str:
    return "" if run.began_or_ended is None else age(run.began_or_ended)


def age(when: datetime) -> str:
    """Return how long ago something was, in the largest unit that it fills."""
    passed = max(datetime.now(UTC) - when, timedelta(0))
    return next((f"{passed // size} {unit} ago" for unit, size in UNITS.items() if passed >= size), "just now")


def _record(run: ListedRun) -> dict[str, Any]:
    """Return what `--json` says of a run."""
    when = run.began_or_ended.isoformat() if run.began_or_ended else None
    record = {"path": str(run.path), **{name: getattr(run, name) for name in FIELDS}}
    record |= {"content_key": run.content_key, "time": when, "num_bytes": run.num_bytes, "can_go_on": run.can_go_on}
    if measured := _measure(run):
        metric, mean, interval = measured
        record |= {"metric": metric, "mean": mean, "low": interval.low, "high": interval.high}
    return record
