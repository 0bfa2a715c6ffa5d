"""The comparison of runs as a terminal table, CSV, Markdown and a bar chart."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from lofit_cli.analysis.statistics import Interval, PairedDifference
from lofit_cli.artifacts.files import write_file
from lofit_cli.report.plots import plot_bars
from lofit_cli.report.progress import show


@dataclass(frozen=True)
class ComparedMetric:
    """A metric's mean over questions, its 95 % interval, and the paired difference to the baseline (None for it).

    Attributes:
        adjusted_p: the paired test's p-value, adjusted (Holm) for all tests of the comparison.
    """

    mean: float
    interval: Interval
    paired: PairedDifference | None
    adjusted_p: float = math.nan


@dataclass(frozen=True)
class ComparedRun:
    """One row of a comparison."""

    run: str
    model: str
    dtype: str
    method: str
    selector: str | None
    seed: int
    num_heads: int
    num_trained_parameters: int
    training_seconds: float
    evaluation_seconds: float
    peak_memory_bytes: int
    is_baseline: bool
    metrics: dict[str, ComparedMetric]

    @property
    def label(self) -> str:
        """Return the method with its heads, as rows and bars are named."""
        return f"{self.method} ({self.num_heads} {self.selector} heads)" if self.num_heads else self.method


def write_comparison(rows: list[ComparedRun], title: str, folder: Path) -> None:
    """Write `comparison.csv`, `comparison.md` and `comparison.png`, and print the table."""
    write_file(folder / "comparison.csv", lambda path: _write_csv(path, rows))
    write_file(folder / "comparison.md", lambda path: path.write_text(_markdown(title, rows)))
    labels = _labels(rows)
    bars = {
        name: [
            (label, row.metrics[name].mean, row.metrics[name].interval) for label, row in zip(labels, rows, strict=True)
        ]
        for name in rows[0].metrics
    }
    plot_bars(bars, title, folder / "comparison.png")
    _print(title, labels, rows)


def _labels(rows: list[ComparedRun]) -> list[str]:
    """Return the rows' labels, with model and dtype where these are not all the same."""
    if len({(row.model, row.dtype) for row in rows}) == 1:
        return [row.label for row in rows]
    return [f"{row.model} ({row.dtype}), {row.label}" for row in rows]


def _tests(rows: list[ComparedRun]) -> str:
    """Return which paired test stands behind each metric's p-values, and how much they could have missed."""
    paired = [(name.upper(), m.paired) for row in rows for name, m in row.metrics.items() if m.paired]
    tests = "; ".join(f"{test} for {name}" for name, test in {name: found.test for name, found in paired}.items())
    detectable = max((found.detectable for _, found in paired), default=0)
    if not paired:
        return ""
    return (
        f"p: {tests}; adjusted (Holm) for the {len(paired)} shown. "
        f"Differences under {100 * detectable:.1f} points may go unnoticed (80 % power)."
    )


def _print(title: str, labels: list[str], rows: list[ComparedRun]) -> None:
    """Print a row a run whose cells hold a line a metric, so that the table fits 80 columns."""
    table = Table(title=escape(title), caption=_tests(rows), show_lines=True)
    for header in ("run", "metric", "% [95 %]", "difference", "p"):
        table.add_column(header, no_wrap=header != "run", overflow="fold")
    for label, row in zip(labels, rows, strict=True):
        cells = [_metric_cells(metric, row.is_baseline) for metric in row.metrics.values()]
        about = "\n".join([f"[bold]{escape(label)}[/bold]", *_about(row), escape(Path(row.run).name)])
        names = "\n".join(name.upper() for name in row.metrics)
        table.add_row(about, names, *("\n".join(column) for column in zip(*cells, strict=True)))
    show(table)


def _about(row: ComparedRun) -> list[str]:
    """Return a run's cost, for reading."""
    seconds = row.training_seconds + row.evaluation_seconds
    return [f"{row.num_trained_parameters:,} parameters", f"{seconds:.0f} s, {row.peak_memory_bytes / 2**30:.1f} GiB"]


def _metric_cells(metric: ComparedMetric, is_baseline: bool) -> tuple[str, str, str]:
    """Return a metric in percent, its difference to the baseline in points, and the p-value."""
    mean = f"{100 * metric.mean:.1f} {_interval(metric.interval)}"
    if metric.paired is None:
        return mean, "baseline" if is_baseline else "", ""
    difference = f"{100 * metric.paired.difference:+.1f} {_interval(metric.paired.interval)}"
    return mean, difference, f"{metric.adjusted_p:.2g}"


def _interval(interval: Interval) -> str:
    return f"[{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _markdown(title: str, rows: list[ComparedRun]) -> str:
    headers = ["run", "directory", "model", "seed", "trained", "time and memory"]
    for name in rows[0].metrics:
        headers += [f"{name.upper()} % [95 %]", "difference", "p"]
    lines = [headers, ["---"] * len(headers)]
    for row in rows:
        cells = [cell for metric in row.metrics.values() for cell in _metric_cells(metric, row.is_baseline)]
        lines.append([row.label, row.run, f"{row.model}, {row.dtype}", str(row.seed), *_about(row), *cells])
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"**{title}**\n\n{body}\n\n{_tests(rows)}\n"


def _write_csv(file: Path, rows: list[ComparedRun]) -> None:
    records = [_record(row) for row in rows]
    with file.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, fieldnames=list(records[0]))
        writer.writeheader()
        writer.writerows(records)


def _record(row: ComparedRun) -> dict[str, Any]:
    """Return a row in full precision, as fractions, seconds and bytes."""
    record = {key: value for key, value in vars(row).items() if key != "metrics"}
    for name, metric in row.metrics.items():
        record |= {name: metric.mean, f"{name}_low": metric.interval.low, f"{name}_high": metric.interval.high}
        paired = metric.paired
        record[f"{name}_difference"] = paired.difference if paired else ""
        record[f"{name}_difference_low"] = paired.interval.low if paired else ""
        record[f"{name}_difference_high"] = paired.interval.high if paired else ""
        record[f"{name}_detectable"] = paired.detectable if paired else ""
        record[f"{name}_p"] = paired.p_value if paired else ""
        record[f"{name}_p_holm"] = metric.adjusted_p if paired else ""
        record[f"{name}_test"] = paired.test if paired else ""
    return record
