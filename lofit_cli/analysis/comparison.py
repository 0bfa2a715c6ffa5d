"""One table: rows of pooled runs, each set against a baseline question by question."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lofit_cli.analysis.categories import CategoryMean, category_means
from lofit_cli.analysis.grouping import TABLE_FACTS, Group
from lofit_cli.analysis.intervals import Folds, Interval, mean_interval, stack
from lofit_cli.analysis.null_distribution import Standing, find_draws, stand_among
from lofit_cli.analysis.pooling import pool_seeds, seed_spread, sorted_seeds
from lofit_cli.analysis.sign_flips import DECIMALS, SignFlips, flip_columns
from lofit_cli.analysis.statistics import PairedDifference, compare_paired, holm, subtract
from lofit_cli.artifacts.evaluations import Evaluation, MeasuredRun
from lofit_cli.artifacts.predictions import PERCENT, Unit, merit, metric_scale, metric_unit
from lofit_cli.errors import UserError


@dataclass(frozen=True)
class ComparedMetric:
    """A metric's mean over questions, its 95 % interval, and the paired difference to the baseline (None for it).

    Attributes:
        seed_spread: standard deviation over seeds of the mean; None with fewer than two seeds.
        adjusted_p: the paired test's p-value, adjusted (Holm) for all tests of the section; None without a test.
        categories: the mean of each category's questions.
        standing: where the mean stands among those of random selections; None where there are none.
        gain: by how much the mean is better than the baseline's on the same questions (`merit`); 0 without a baseline.
    """

    mean: float
    interval: Interval
    seed_spread: float | None
    paired: PairedDifference | None
    categories: list[CategoryMean]
    adjusted_p: float | None = None
    unit: Unit = PERCENT
    standing: Standing | None = None
    gain: float = 0.0

    @property
    def is_significant(self) -> bool:
        """Return whether the adjusted p-value is below 0.05."""
        return self.adjusted_p is not None and self.adjusted_p < 0.05


@dataclass(frozen=True)
class ComparedRow:
    """The runs of one group, pooled.

    Attributes:
        paired_folds: the folds that the baseline covers too.
    """

    label: str
    runs: tuple[Evaluation, ...]
    is_baseline: bool
    paired_folds: tuple[int, ...]
    metrics: dict[str, ComparedMetric]

    @property
    def folds(self) -> tuple[int, ...]:
        """Return the folds that the runs cover."""
        return tuple(sorted({run.fold for run in self.runs}))

    @property
    def seeds(self) -> list[str]:
        """Return the seeds of the runs."""
        return sorted_seeds(self.runs)

    @property
    def unknown_history(self) -> list[str]:
        """Return the files behind the runs that do not say what they have learnt from, perhaps test questions."""
        return list(dict.fromkeys(file for run in self.runs for file in run.manifest.unknown_history))


@dataclass(frozen=True)
class ComparedSection:
    """The rows of one model, dtype, task, split and protocol, the baseline first.

    Attributes:
        facts: these, and a name of the model, as the baseline's manifest states them.
        metrics: the names that all rows have; the first is the headline.
        left_out: the metrics that some of the runs have, and not all.
    """

    facts: dict[str, Any]
    metrics: tuple[str, ...]
    rows: tuple[ComparedRow, ...]
    left_out: tuple[str, ...] = ()

    @property
    def folds(self) -> tuple[int, ...]:
        """Return the folds of all rows."""
        return tuple(sorted({fold for row in self.rows for fold in row.folds}))

    @property
    def num_questions(self) -> int:
        """Return how many questions the row with the most of them covers."""
        means = [metric.categories for row in self.rows for metric in row.metrics.values()]
        return max((sum(part.num_questions for part in categories) for categories in means), default=0)

    @property
    def runs(self) -> list[Evaluation]:
        """Return the runs of all rows."""
        return [run for row in self.rows for run in row.runs]


def compare_section(groups: Sequence[Group], baseline: Group, num_resamples: int, seed: int) -> ComparedSection:
    """Compare the groups of one section with one of them.

    Raises:
        UserError: the runs have no metric in common.
    """
    ordered = [baseline, *(group for group in groups if group is not baseline)]
    runs = [run for group in ordered for run in group.runs]
    metrics = _shared_metrics(runs)
    left_out = tuple(dict.fromkeys(name for run in runs for name in run.values if name not in metrics))
    flips = _flip(ordered, metrics, num_resamples, seed)
    rows = [_stand(_compare_group(group, baseline, metrics, flips), group, runs) for group in ordered]
    first = baseline.runs[0].manifest
    facts = {name: getattr(first, name) for name in ("model", *TABLE_FACTS)}
    return ComparedSection(facts, metrics, tuple(_adjust(rows)), left_out)


def _shared_metrics(runs: Sequence[MeasuredRun]) -> tuple[str, ...]:
    """Return the metrics that all runs measured; another version may have measured more."""
    metrics = tuple(name for name in runs[0].values if all(name in run.values for run in runs))
    if not metrics:
        raise UserError(f"runs of {runs[0].manifest.task} have no metric in common; evaluate them with one version")
    return metrics


def _flip(groups: Sequence[Group], metrics: Sequence[str], num_flips: int, seed: int) -> Iterator[SignFlips]:
    """Yield what sign flips say of each group's differences to the first, metric by metric, where they share a fold."""
    pooled = {metric: pool_seeds(groups[0].runs, metric) for metric in metrics}
    columns: list[Folds] = [
        differences
        for group in groups[1:]
        for metric in metrics
        if (differences := subtract(pool_seeds(group.runs, metric), pooled[metric]))
    ]
    return iter(flip_columns(columns, num_flips, seed))


def _compare_group(group: Group, baseline: Group, metrics: Sequence[str], flips: Iterator[SignFlips]) -> ComparedRow:
    """Return a row, taking its flips in the order in which `_flip` lists them."""
    mine, theirs = ({run.fold for run in runs} for runs in (group.runs, baseline.runs))
    other = None if group is baseline else baseline
    compared = {metric: _compare_metric(group, other, metric, flips) for metric in metrics}
    runs = tuple(run.without_questions() for run in group.runs)
    return ComparedRow(group.label, runs, other is None, tuple(sorted(mine & theirs)), compared)


def _stand(row: ComparedRow, group: Group, runs: Sequence[MeasuredRun]) -> ComparedRow:
    """Return a row that says where it stands among random selections, where some were trained as it was."""
    metrics = dict(row.metrics)
    for name, metric in row.metrics.items():
        if draws := find_draws(group.runs, runs, name):
            metrics[name] = replace(metric, standing=stand_among(metric.mean, draws, name))
    return replace(row, metrics=metrics)


def _compare_metric(group: Group, baseline: Group | None, metric: str, flips: Iterator[SignFlips]) -> ComparedMetric:
    values, scale = pool_seeds(group.runs, metric), Interval(*metric_scale(metric))
    other = pool_seeds(baseline.runs, metric) if baseline else {}
    shared = {fold: found for fold, found in other.items() if fold in values}
    paired = compare_paired(values, other, next(flips), scale) if shared else None
    categories = category_means(values, other, {run.fold: run.categories for run in group.runs})
    spread = seed_spread(group.runs, metric)
    interval, unit = mean_interval(values, scale), metric_unit(metric)
    gain = _gain(metric, paired.difference, shared) if paired else 0.0
    mean = float(stack(values).mean())
    return ComparedMetric(mean, interval, spread, paired, categories, unit=unit, gain=gain)


def _gain(metric: str, difference: float, baseline: Folds) -> float:
    """Return by how much a mean is better than the baseline's, which may be nearer to an ideal and lower."""
    before = float(stack(baseline).mean())
    return round(merit(metric, before + difference) - merit(metric, before), DECIMALS)


def _adjust(rows: Sequence[ComparedRow]) -> list[ComparedRow]:
    """Return the rows with each p-value adjusted for all the tests that the table shows."""
    adjusted = iter(holm([m.paired.p_value for row in rows for m in row.metrics.values() if m.paired]))
    return [
        replace(
            row, metrics={k: replace(m, adjusted_p=next(adjusted)) if m.paired else m for k, m in row.metrics.items()}
        )
        for row in rows
    ]
