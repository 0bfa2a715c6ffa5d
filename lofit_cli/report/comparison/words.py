"""What stands in a comparison's cells, in words and rounded numbers, whatever the form of the table."""

from collections.abc import Sequence
from pathlib import Path

from lofit_cli.analysis.comparison import ComparedMetric, ComparedRow, ComparedSection
from lofit_cli.analysis.intervals import Interval
from lofit_cli.analysis.pooling import describe_coverage


def describe_section(section: ComparedSection) -> str:
    """Return what the rows of a table have in common, as its title."""
    facts, folds = section.facts, section.folds
    numbers = f"fold{'s' if len(folds) > 1 else ''} {','.join(map(str, folds))}"
    model = f"{facts['model']} ({facts['dtype']})"
    return f"{model} on {facts['task']}, {numbers}, {facts['split']} split, {facts['protocol']}"


def describe_cost(row: ComparedRow) -> list[str]:
    """Return how many trainable parameters a row has, and the time and memory of one of its runs."""
    counts = sorted({run.manifest.num_trained_parameters for run in row.runs})
    seconds, memory = mean_seconds(row, "training_seconds") + mean_seconds(row, "wall_seconds"), peak_memory(row)
    each = " a run" if len(row.runs) > 1 else ""
    return [
        f"{' to '.join(f'{count:,}' for count in dict.fromkeys((counts[0], counts[-1])))} parameters",
        f"{seconds:.0f} s{each}, {memory / 2**30:.1f} GiB",
    ]


def mean_seconds(row: ComparedRow, key: str) -> float:
    """Return the mean over a row's runs of a time that their manifests state, 0 where they don't."""
    return sum(float(getattr(run.manifest, key)) for run in row.runs) / len(row.runs)


def peak_memory(row: ComparedRow) -> int:
    """Return the highest peak of a row's runs in bytes, the GPU's where there was one."""
    return max(run.manifest.peak_gpu_memory_bytes or run.manifest.peak_memory_bytes for run in row.runs)


def describe_row(row: ComparedRow, section: ComparedSection) -> list[str]:
    """Return what the terminal says of a row under its label: few lines, because each makes the table longer."""
    parameters, cost = describe_cost(row)
    if len({(run.fold, run.seed) for run in section.runs}) == 1:
        return [parameters, cost, Path(row.runs[0].path).name]
    return [parameters, describe_coverage(row.runs), *describe_pairing(row)]


def name_row(row: ComparedRow, section: ComparedSection) -> str:
    """Return a row's label, with the folds where these are not all of the table's."""
    folds = [] if row.folds == section.folds else [f"fold {','.join(map(str, row.folds))}"]
    return ", ".join([row.label, *folds, *describe_pairing(row)])


def describe_pairing(row: ComparedRow) -> list[str]:
    """Return a line that says so where the baseline covers fewer folds than the row."""
    if row.paired_folds == row.folds:
        return []
    if not row.paired_folds:
        return ["no fold in common with the baseline"]
    return [f"difference on fold {','.join(map(str, row.paired_folds))} only"]


def metric_cells(metric: ComparedMetric, is_baseline: bool) -> tuple[str, str, str]:
    """Return a metric in percent, its difference to the baseline in points, and the adjusted p-value."""
    mean = f"{percent(metric.mean)} {interval_cell(metric.interval)}"
    if metric.paired is None:
        return mean, "baseline" if is_baseline else "", ""
    difference = f"{100 * metric.paired.difference:+.1f} {interval_cell(metric.paired.interval)}"
    return mean, difference, f"{metric.adjusted_p:.2g}"


def percent(fraction: float) -> str:
    """Return a fraction in percent, to one decimal."""
    return f"{100 * fraction:.1f}"


def interval_cell(interval: Interval) -> str:
    """Return an interval in percent or points."""
    return f"[{percent(interval.low)}, {percent(interval.high)}]"


def spread_cell(metric: ComparedMetric) -> str:
    """Return the standard deviation over seeds in points, or nothing with one seed."""
    return "" if metric.seed_spread is None else percent(metric.seed_spread)


def has_spread(section: ComparedSection) -> bool:
    """Return whether any row has more than one seed to tell apart."""
    return any(metric.seed_spread is not None for row in section.rows for metric in row.metrics.values())


def describe_tests(section: ComparedSection) -> str:
    """Return which paired tests stand behind each metric's p-values, and how much they could have missed."""
    paired = [(name.upper(), m.paired) for row in section.rows for name, m in row.metrics.items() if m.paired]
    if not paired:
        return ""
    tests: dict[str, list[str]] = {}
    for name, found in paired:
        tests.setdefault(found.test, []).append(name)
    named = "; ".join(f"{test} for {', '.join(dict.fromkeys(names))}" for test, names in tests.items())
    detectable = max(found.detectable for _, found in paired)
    return (
        f"p: {named}; adjusted (Holm) for the {len(paired)} shown. "
        f"Differences under {percent(detectable)} points may go unnoticed (80 % power)."
    )


def name_sections(sections: Sequence[ComparedSection]) -> list[str]:
    """Return a short name for each section, for headings and columns: its task, with what else tells it from others."""
    names = [str(section.facts["task"]) for section in sections]
    for key in ("protocol", "split", "dtype", "model"):
        for name in {name for name in names if names.count(name) > 1}:
            same = [i for i, other in enumerate(names) if other == name]
            if len({sections[i].facts[key] for i in same}) > 1:
                for i in same:
                    names[i] = f"{name}-{_last_part(str(sections[i].facts[key]))}"
    return [f"{name}-{names[:i].count(name) + 1}" if name in names[:i] else name for i, name in enumerate(names)]


def _last_part(text: str) -> str:
    return text.rstrip("/").rpartition("/")[2]
