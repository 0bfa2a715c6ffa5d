"""The comparison of runs as a terminal table, CSV, Markdown and a bar chart."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lofit_cli.analysis.statistics import Interval, PairedDifference
from lofit_cli.artifacts.files import write_file
from lofit_cli.report.plots import plot_bars


@dataclass(frozen=True)
class ComparedMetric:
    """A metric's mean over questions, its 95 % interval, and the paired difference to the baseline (None for it)."""

    mean: float
    interval: Interval
    paired: PairedDifference | None


@dataclass(frozen=True)
class ComparedRun:
    """One row of a comparison."""

    run: str
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
        """Return the method with the selector of its heads, as rows and bars are named."""
        return f"{self.method} ({self.selector} heads)" if self.selector else self.method


def write_comparison(rows: list[ComparedRun], title: str, folder: Path) -> None:
    """Print the table and write `comparison.csv`, `comparison.md` and `comparison.png`."""
    headers, cells = _readable(rows)
    _print(title, headers, cells)
    write_file(folder / "comparison.csv", lambda path: _write_csv(path, rows))
    write_file(folder / "comparison.md", lambda path: path.write_text(_markdown(title, headers, cells)))
    bars = {name: [(r.label, r.metrics[name].mean, r.metrics[name].interval) for r in rows] for name in rows[0].metrics}
    plot_bars(bars, title, folder / "comparison.png")


def _readable(rows: list[ComparedRun]) -> tuple[list[str], list[list[str]]]:
    """Return headers and cells for reading: percentages, with differences in points."""
    headers = ["run", "method", "heads", "trained"]
    for name in rows[0].metrics:
        headers += [f"{name.upper()} % [95 %]", "difference", "p"]
    return [*headers, "time", "memory"], [_cells(row) for row in rows]


def _cells(row: ComparedRun) -> list[str]:
    cells = [Path(row.run).name, row.label, str(row.num_heads), f"{row.num_trained_parameters:,}"]
    for metric in row.metrics.values():
        cells.append(f"{100 * metric.mean:.1f} {_interval(metric.interval)}")
        if metric.paired is None:
            cells += ["baseline" if row.is_baseline else "", ""]
        else:
            cells.append(f"{100 * metric.paired.difference:+.1f} {_interval(metric.paired.interval)}")
            cells.append(f"{metric.paired.p_value:.2g}")
    seconds = row.training_seconds + row.evaluation_seconds
    return [*cells, f"{seconds:.0f} s", f"{row.peak_memory_bytes / 2**30:.1f} GiB"]


def _interval(interval: Interval) -> str:
    return f"[{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _print(title: str, headers: list[str], cells: list[list[str]]) -> None:
    table = Table(title=title, caption="p: exact McNemar for MC1, paired bootstrap over questions for the others")
    for column, header in enumerate(headers):
        table.add_column(header, justify="left" if column < 2 else "right", overflow="fold")
    for row in cells:
        table.add_row(*row)
    Console().print(table)


def _markdown(title: str, headers: list[str], cells: list[list[str]]) -> str:
    rows = [headers, ["---"] * len(headers), *cells]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([f"**{title}**", "", *lines]) + "\n"


def _write_csv(file: Path, rows: list[ComparedRun]) -> None:
    with file.open("w", newline="") as lines:
        records = [_record(row) for row in rows]
        writer = csv.DictWriter(lines, fieldnames=list(max(records, key=len)), restval="")
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
        record[f"{name}_p"] = paired.p_value if paired else ""
        record[f"{name}_test"] = paired.test if paired else ""
    return record
