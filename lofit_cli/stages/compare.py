"""Stage 4: set runs side by side, each against a baseline, question by question."""

import glob
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lofit_cli.analysis.statistics import Interval, PairedDifference, compare_paired, holm, mean_interval
from lofit_cli.artifacts.predictions import read_metric_columns
from lofit_cli.artifacts.run_dir import RunDir, read_manifest
from lofit_cli.errors import UserError
from lofit_cli.report.comparison import ComparedMetric, ComparedRun, write_comparison
from lofit_cli.schema import CompareConfig

MIN_QUESTIONS = 2


@dataclass(frozen=True)
class _Evaluation:
    """An evaluate run as it was read: `values` maps a metric to one value a question."""

    path: Path
    manifest: dict[str, Any]
    question_ids: list[str]
    values: dict[str, list[float]]


def compare(config: CompareConfig, run: RunDir) -> list[ComparedRun]:
    """Compare evaluate runs; print a table and write it as CSV and Markdown, with a bar chart.

    Raises:
        UserError: the runs did not score the same questions under the same protocol.
    """
    evaluations = [_read(path) for path in _find_runs(config)]
    baseline = _baseline(evaluations, config.baseline)
    for other in evaluations:
        _require_same_questions(other, baseline)
    compared = _adjust([_compare(other, baseline, config) for other in evaluations])
    first = baseline.manifest
    run.record(**{key: first[key] for key in ("model", "task", "fold", "split", "protocol", "dataset_hash")})
    run.record(baseline=str(baseline.path), runs=[str(evaluation.path) for evaluation in evaluations])
    models = ", ".join(dict.fromkeys(f"{row.model} ({row.dtype})" for row in compared))
    title = f"{models} on {first['task']}, fold {first['fold']}, {first['split']} split, {first['protocol']}"
    write_comparison(compared, title, run.path)
    return compared


def _find_runs(config: CompareConfig) -> list[Path]:
    """Expand directories and globs, in order and without repeats; a glob takes only finished evaluate runs."""
    found: list[Path] = []
    for pattern in config.runs or [f"{glob.escape(config.runs_dir)}/evaluate/*"]:
        matches = [Path(pattern)]
        if not matches[0].is_dir():
            matches = [path for path in map(Path, sorted(glob.glob(pattern))) if _is_finished_evaluation(path)]
        if not matches:
            raise UserError(f"runs: nothing matches {pattern}; name finished evaluate runs, or run `lofit evaluate`")
        found.extend(matches)
    return list({path.resolve(): path for path in found}.values())


def _is_finished_evaluation(path: Path) -> bool:
    try:
        read_manifest(path, "evaluate", "runs")
    except UserError:
        return False
    return True


def _read(path: Path) -> _Evaluation:
    manifest = read_manifest(path, "evaluate", "runs")
    columns = read_metric_columns(path, manifest["metrics"])
    if len(columns["question_id"]) < MIN_QUESTIONS:
        raise UserError(f"{path} scored fewer than {MIN_QUESTIONS} questions; an interval needs at least that many")
    return _Evaluation(path, manifest, columns.pop("question_id"), columns)


def _baseline(evaluations: list[_Evaluation], name: str | None) -> _Evaluation:
    """Return the run that the others are set against: the one named, else the first without an intervention."""
    if name is None:
        return next((e for e in evaluations if e.manifest["method"] == "none"), evaluations[0])
    for evaluation in evaluations:
        if evaluation.path.resolve() == Path(name).resolve():
            return evaluation
    listed = ", ".join(str(evaluation.path) for evaluation in evaluations)
    raise UserError(f"baseline={name} is not one of the runs compared; choose one of {listed}")


def _require_same_questions(other: _Evaluation, baseline: _Evaluation) -> None:
    for key in ("task", "fold", "split", "protocol", "dataset_hash"):
        if other.manifest[key] != baseline.manifest[key]:
            raise UserError(
                f"{other.path} and {baseline.path} cannot be paired: {key} is {other.manifest[key]} in the one and "
                f"{baseline.manifest[key]} in the other; compare runs that scored the same questions"
            )
    for key in ("metrics", "judges"):
        if other.manifest.get(key) != baseline.manifest.get(key):
            raise UserError(
                f"{other.path} and {baseline.path} cannot be paired: their {key} are {other.manifest.get(key)} and "
                f"{baseline.manifest.get(key)}; evaluate both with the same eval.judge_true and eval.judge_info"
            )
    if other.question_ids != baseline.question_ids:
        raise UserError(f"{other.path} and {baseline.path} scored different questions and cannot be paired")


def _compare(evaluation: _Evaluation, baseline: _Evaluation, config: CompareConfig) -> ComparedRun:
    manifest = evaluation.manifest
    return ComparedRun(
        run=str(evaluation.path),
        model=manifest["model"],
        dtype=manifest["dtype"],
        method=manifest["method"],
        selector=manifest["selector"],
        seed=manifest["seed"],
        num_heads=manifest["num_heads"],
        num_trained_parameters=manifest["num_trained_parameters"],
        training_seconds=manifest.get("training_seconds", 0.0),
        evaluation_seconds=manifest["wall_seconds"],
        peak_memory_bytes=manifest.get("peak_gpu_memory_bytes", manifest.get("peak_memory_bytes", 0)),
        is_baseline=evaluation is baseline,
        metrics={name: _compare_metric(evaluation, baseline, name, config) for name in manifest["metrics"]},
    )


def _adjust(rows: list[ComparedRun]) -> list[ComparedRun]:
    """Return the rows with each p-value adjusted for all the tests that the table shows."""
    adjusted = iter(holm([m.paired.p_value for row in rows for m in row.metrics.values() if m.paired]))
    return [
        replace(
            row, metrics={k: replace(m, adjusted_p=next(adjusted)) if m.paired else m for k, m in row.metrics.items()}
        )
        for row in rows
    ]


def _compare_metric(
    evaluation: _Evaluation, baseline: _Evaluation, metric: str, config: CompareConfig
) -> ComparedMetric:
    values = evaluation.values[metric]
    interval: Interval = mean_interval(values, config.num_resamples, config.seed)
    paired: PairedDifference | None = None
    if evaluation is not baseline:
        paired = compare_paired(values, baseline.values[metric], config.num_resamples, config.seed)
    return ComparedMetric(sum(values) / len(values), interval, paired)
