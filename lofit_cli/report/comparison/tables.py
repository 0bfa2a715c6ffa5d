"""A comparison's tables: a wide one for Markdown and CSV, one for a paper and one for 80 columns of a terminal."""

import json
from collections.abc import Sequence
from typing import Any

from lofit_cli.analysis.comparison import ComparedMetric, ComparedRow, ComparedSection
from lofit_cli.analysis.pooling import describe_coverage
from lofit_cli.artifacts.predictions import merit
from lofit_cli.report.comparison.words import (
    describe_caveats,
    describe_cost,
    describe_row,
    describe_section,
    describe_tests,
    difference_cell,
    fully_named_rows,
    has_spread,
    head_text,
    mean_cell,
    mean_seconds,
    named_rows,
    p_text,
    parameter_count,
    peak_memory,
    spread_text,
)
from lofit_cli.report.tables import Cell, Column, Entry, Table

STAR_NOTE = "*: p < 0.05 after Holm's correction."


def wide_table(section: ComparedSection) -> Table:
    """Return everything about a section's rows, with its records."""
    spread = has_spread(section)
    heads = ["run", "directory", "folds and seeds", "trainable parameters", "time and memory"]
    for name, metric in section.rows[0].metrics.items():
        heads += [f"{head_text(name, metric)} [95 %]", *(["SD over seeds"] if spread else []), "difference", "p"]
    columns = [Column(head, "left") for head in heads]
    rows = [_wide_row(name, row, spread) for name, row in named_rows(section)]
    return Table(describe_section(section), columns, rows, describe_tests(section), section_records(section))


def _wide_row(name: str, row: ComparedRow, spread: bool) -> list[Entry]:
    directory = str(row.runs[0].path) if len(row.runs) == 1 else f"{len(row.runs)} runs"
    coverage = "; ".join([describe_coverage(row.runs), *describe_caveats(row)])
    cells: list[Entry] = [name, directory, coverage, parameter_count(row), describe_cost(row)]
    for metric in row.metrics.values():
        cells += [mean_cell(metric), *([spread_text(metric)] if spread else [])]
        cells += [difference_cell(metric, row.is_baseline), p_text(metric)]
    return cells


def paper_table(section: ComparedSection) -> Table:
    """Return what fits on a page: the best mean of each metric in bold and a star at each significant difference.

    Only rows of all the table's folds can be best.
    """
    full = [row for row in section.rows if row.folds == section.folds]
    best = {name: max((merit(name, row.metrics[name].mean) for row in full), default=None) for name in section.metrics}
    columns = [Column("", "left")]
    for name in section.metrics:
        columns += [Column(head_text(name, section.rows[0].metrics[name])), Column("difference", "left")]
    rows = [_paper_row(name, row, row in full, best) for name, row in fully_named_rows(section)]
    note = f"95 % intervals. {STAR_NOTE} {describe_tests(section)}"
    return Table(describe_section(section), columns, rows, note)


def _paper_row(name: str, row: ComparedRow, covers_all: bool, best: dict[str, float | None]) -> list[Entry]:
    cells: list[Entry] = [name]
    for key, metric in row.metrics.items():
        star = "*" if metric.is_significant else ""
        cells += [mean_cell(metric, covers_all and merit(key, metric.mean) == best[key])]
        cells += [difference_cell(metric, row.is_baseline, star)]
    return cells


def narrow_table(section: ComparedSection) -> Table:
    """Return a row a group whose cells hold a line a metric, so that the table fits 80 columns."""
    wholes = [Column(head, "left", is_whole=True) for head in ("metric", "% [95 %]", "difference", "p")]
    rows = [_narrow_row(name, row, section) for name, row in named_rows(section)]
    return Table(describe_section(section), [Column("run", "left"), *wholes], rows, describe_tests(section))


def _narrow_row(name: str, row: ComparedRow, section: ComparedSection) -> list[Sequence[Cell]]:
    about = [Cell(name, is_bold=True), *map(Cell, describe_row(row, section))]
    lines = [
        (Cell(metric.upper()), mean_cell(m), difference_cell(m, row.is_baseline), Cell(p_text(m)))
        for metric, m in row.metrics.items()
    ]
    return [about, *zip(*lines, strict=True)]


def section_records(section: ComparedSection) -> list[dict[str, Any]]:
    """Return a section's rows in full precision, as fractions, seconds and bytes."""
    return [section.facts | _record(row) for row in section.rows]


def _record(row: ComparedRow) -> dict[str, Any]:
    record = {
        "row": row.label,
        **{key: _shared(row, key) for key in ("method", "selector", "num_heads", "num_trained_parameters")},
        "num_train": _shared(row, "num_train"),
        "made_by": " ".join(dict.fromkeys(json.dumps(run.made_by, sort_keys=True) for run in row.runs)),
        "folds": " ".join(map(str, row.folds)),
        "seeds": "; ".join(row.seeds),
        "runs": ";".join(str(run.path) for run in row.runs),
        "training_seconds": mean_seconds(row, "training_seconds"),
        "evaluation_seconds": mean_seconds(row, "own_seconds"),
        "peak_memory_bytes": peak_memory(row),
        "is_baseline": row.is_baseline,
        "paired_folds": " ".join(map(str, row.paired_folds)),
        "unknown_history": "; ".join(row.unknown_history),
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
        | {"evidence": found.evidence}
        for row in section.rows
        for name, metric in row.metrics.items()
        for found in metric.categories
    ]
