"""A comparison as Markdown, to read, and as CSV, to compute with."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lofit_cli.analysis.comparison import ComparedMetric, ComparedRow, ComparedSection
from lofit_cli.analysis.pooling import describe_coverage
from lofit_cli.report.comparison.words import (
    describe_cost,
    describe_pairing,
    describe_section,
    describe_tests,
    has_spread,
    mean_seconds,
    metric_cells,
    peak_memory,
    spread_cell,
)


def markdown_section(section: ComparedSection) -> str:
    """Return a section's title, table and note on its tests."""
    spread = has_spread(section)
    headers = ["run", "directory", "folds and seeds", "trained", "time and memory"]
    for name in section.metrics:
        headers += [f"{name.upper()} % [95 %]", *(["SD over seeds"] if spread else []), "difference", "p"]
    lines = [markdown_row(headers), markdown_row(["---"] * len(headers))]
    lines += [markdown_row(_markdown_cells(row, spread)) for row in section.rows]
    return "\n\n".join(filter(None, [f"**{describe_section(section)}**", "\n".join(lines), describe_tests(section)]))


def markdown_row(cells: Sequence[str]) -> str:
    """Return a line of a table; a bar in a cell would end it."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _markdown_cells(row: ComparedRow, spread: bool) -> list[str]:
    directory = str(row.runs[0].path) if len(row.runs) == 1 else f"{len(row.runs)} runs"
    coverage = "; ".join([describe_coverage(row.runs), *describe_pairing(row)])
    cells = [row.label, directory, coverage, *describe_cost(row)]
    for metric in row.metrics.values():
        mean, difference, p_value = metric_cells(metric, row.is_baseline)
        cells += [mean, *([spread_cell(metric)] if spread else []), difference, p_value]
    return cells


def write_csv(file: Path, records: Sequence[dict[str, Any]]) -> None:
    """Write records whose keys may differ: a column for each key, empty where a record lacks it."""
    with file.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, fieldnames=list(dict.fromkeys(key for record in records for key in record)))
        writer.writeheader()
        writer.writerows(records)


def section_records(section: ComparedSection) -> list[dict[str, Any]]:
    """Return a section's rows in full precision, as fractions, seconds and bytes."""
    return [section.facts | _record(row) for row in section.rows]


def _record(row: ComparedRow) -> dict[str, Any]:
    record = {
        "row": row.label,
        **{key: _shared(row, key) for key in ("method", "selector", "num_heads", "num_trained_parameters")},
        "num_train": _shared(row, "num_train"),
        "made_by": json.dumps(row.runs[0].made_by, sort_keys=True),
        "folds": " ".join(map(str, row.folds)),
        "seeds": "; ".join(row.seeds),
        "runs": ";".join(str(run.path) for run in row.runs),
        "training_seconds": mean_seconds(row, "training_seconds"),
        "evaluation_seconds": mean_seconds(row, "wall_seconds"),
        "peak_memory_bytes": peak_memory(row),
        "is_baseline": row.is_baseline,
        "paired_folds": " ".join(map(str, row.paired_folds)),
    }
    for name, metric in row.metrics.items():
        record |= {f"{name}{ending}": value for ending, value in _metric_record(metric).items()}
    return record


def _shared(row: ComparedRow, key: str) -> Any:
    """Return a fact of a row's runs, or all that they state, where `group_by` has pooled different ones."""
    values = list(dict.fromkeys(str(getattr(run.manifest, key)) for run in row.runs))
    return getattr(row.runs[0].manifest, key) if len(values) == 1 else " ".join(values)


def _metric_record(metric: ComparedMetric) -> dict[str, Any]:
    record: dict[str, Any] = {"": metric.mean, "_low": metric.interval.low, "_high": metric.interval.high}
    record["_sd_over_seeds"] = metric.seed_spread
    paired = metric.paired
    record |= {"_difference": paired and paired.difference, "_difference_low": paired and paired.interval.low}
    record |= {"_difference_high": paired and paired.interval.high, "_detectable": paired and paired.detectable}
    return record | {
        "_p": paired and paired.p_value,
        "_p_holm": metric.adjusted_p,
        "_test": paired and paired.test,
    }


def category_records(section: ComparedSection) -> list[dict[str, Any]]:
    """Return a record for each row, category and metric of a section, as fractions."""
    return [
        section.facts
        | {"row": row.label, "category": found.category, "num_questions": found.num_questions, "metric": name}
        | {"mean": found.mean, "difference": found.difference, "num_paired": found.num_paired}
        for row in section.rows
        for name, metric in row.metrics.items()
        for found in metric.categories
    ]
