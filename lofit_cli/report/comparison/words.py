"""What stands in a comparison's cells, in words and rounded numbers, whatever the form of the table."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lofit_cli.analysis.comparison import ComparedMetric, ComparedRow, ComparedSection
from lofit_cli.analysis.grouping import tell_apart
from lofit_cli.analysis.intervals import Interval
from lofit_cli.analysis.pooling import describe_coverage
from lofit_cli.artifacts.predictions import PERCENT, Unit
from lofit_cli.report.tables import Cell

MAX_LETTERS = 120
"""The longest name that a table or figure shows."""


ABSENT = {"num_test": "whole", "system_prompt": "no-system-prompt", "quantization": "not-quantised"}
"""What a name says where a fact is missing that other sections state."""

OF_THE_MODEL = ("dtype", "quantization", "first_tokens", "chat_template", "system_prompt", "model")
TELLING = ("protocol", "split", "num_test", *OF_THE_MODEL)
"""What tells sections of one task apart, in names."""


def shorten(name: str) -> str:
    """Return a name without its middle where it is too long to show: what tells names apart is often at their end."""
    half = (MAX_LETTERS - 1) // 2
    return name if len(name) <= MAX_LETTERS else f"{name[:half]}…{name[-half:]}"


def shown_names(names: Sequence[str]) -> list[str]:
    """Return names short enough to show, all different."""
    return tell_apart([shorten(name) for name in names])


def named_rows(section: ComparedSection) -> list[tuple[str, ComparedRow]]:
    """Return the rows with a name to show for each."""
    return list(zip(shown_names([row.label for row in section.rows]), section.rows, strict=True))


def fully_named_rows(section: ComparedSection) -> list[tuple[str, ComparedRow]]:
    """Return the rows with names that say which folds they cover, where these are not all of the table's."""
    return [(_with_folds(name, row, section), row) for name, row in named_rows(section)]


def _with_folds(name: str, row: ComparedRow, section: ComparedSection) -> str:
    folds = [] if row.folds == section.folds else [f"fold {','.join(map(str, row.folds))}"]
    return ", ".join([name, *folds, *describe_caveats(row)])


def describe_section(section: ComparedSection) -> str:
    """Return what the rows of a table have in common, as its title."""
    facts, folds = section.facts, section.folds
    numbers = f"fold{'s' if len(folds) > 1 else ''} {','.join(map(str, folds))}"
    task, split, protocol = (shorten(str(facts[name])) for name in ("task", "split", "protocol"))
    drawn = "" if facts["num_test"] is None else f" drawn by task.num_test={facts['num_test']}"
    questions = f"{section.num_questions} {split} questions{drawn}"
    return f"{describe_model(facts)} on {task}, {numbers}, {questions}, {protocol}"


def describe_model(facts: Mapping[str, Any]) -> str:
    """Return a model's name with what its numbers depend on, such as its dtype and how texts begin."""
    coarser = f", quantised to {facts['quantization']}" * bool(facts["quantization"])
    begins = f", texts begin with {shorten(''.join(facts['first_tokens']))}" * bool(facts["first_tokens"])
    chats = ", chat template" * bool(facts["chat_template"])
    system = f", system prompt '{shorten(str(facts['system_prompt']))}'" * (facts["system_prompt"] is not None)
    return f"{shorten(str(facts['model']))} ({facts['dtype']}{coarser}{begins}{chats}{system})"


def parameter_count(row: ComparedRow) -> str:
    """Return how many trainable parameters a row's runs have."""
    counts = sorted({run.manifest.num_trained_parameters for run in row.runs})
    return " to ".join(f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1])))


def describe_cost(row: ComparedRow) -> str:
    """Return the time and memory of one of a row's runs.

    An evaluation that was cut off and went on states the seconds of its last process.
    """
    seconds, memory = mean_seconds(row, "training_seconds") + mean_seconds(row, "own_seconds"), peak_memory(row)
    least = "at least " * any(run.manifest.continued for run in row.runs)
    return f"{least}{seconds:.0f} s{' per run' if len(row.runs) > 1 else ''}, {memory / 2**30:.1f} GiB"


def mean_seconds(row: ComparedRow, key: str) -> float:
    """Return the mean over a row's runs of a time that their manifests state, 0 where they don't."""
    return sum(float(getattr(run.manifest, key)) for run in row.runs) / len(row.runs)


def peak_memory(row: ComparedRow) -> int:
    """Return the highest peak of a row's runs in bytes, the GPU's where there was one."""
    return max(run.manifest.peak_gpu_memory_bytes or run.manifest.peak_memory_bytes for run in row.runs)


def describe_row(row: ComparedRow, section: ComparedSection) -> list[str]:
    """Return what the terminal says of a row under its label: few lines, because each makes the table longer."""
    parameters = f"{parameter_count(row)} trainable parameters"
    if len({(run.fold, run.seed) for run in section.runs}) == 1:
        return [parameters, describe_cost(row), Path(row.runs[0].path).name, *describe_caveats(row)]
    return [parameters, describe_coverage(row.runs), *describe_caveats(row)]


def describe_caveats(row: ComparedRow) -> list[str]:
    """Return a line for each thing to bear in mind: folds that the baseline lacks, files of unknown history."""
    unknown = [Path(file).name for file in row.unknown_history]
    history = [f"what {', '.join(unknown)} learnt from is not known"] if unknown else []
    return [*_describe_pairing(row), *history]


def _describe_pairing(row: ComparedRow) -> list[str]:
    if row.paired_folds == row.folds:
        return []
    if not row.paired_folds:
        return ["no fold in common with the baseline"]
    return [f"difference on fold {','.join(map(str, row.paired_folds))} only"]


def mean_cell(metric: ComparedMetric, is_best: bool = False) -> Cell:
    """Return a metric in its unit, beside it its interval."""
    return Cell(amount(metric.mean, metric.unit), interval_text(metric.interval, metric.unit), is_bold=is_best)


def difference_cell(metric: ComparedMetric, is_baseline: bool, marks: str = "") -> Cell:
    """Return a metric's difference to the baseline, nothing where the two have no fold in common."""
    if metric.paired is None:
        return Cell("baseline" if is_baseline else "")
    return Cell(difference_text(metric), interval_text(metric.paired.interval, metric.unit), marks)


def difference_text(metric: ComparedMetric) -> str:
    """Return a metric's difference to the baseline in points, or in its own unit."""
    paired = metric.paired
    return f"{metric.unit.factor * paired.difference:+.{metric.unit.decimals}f}" if paired else ""


def p_text(metric: ComparedMetric) -> str:
    """Return the adjusted p-value, nothing without a test."""
    return "" if metric.adjusted_p is None else f"{metric.adjusted_p:.2g}"


def percent(fraction: float) -> str:
    """Return a fraction in percent, to one decimal."""
    return f"{100 * fraction:.1f}"


def amount(value: float, unit: Unit) -> str:
    """Return a value as a person reads it, with its unit unless that is percent, which heads of columns state."""
    number = f"{unit.factor * value:.{unit.decimals}f}"
    return number if unit == PERCENT else f"{number} {unit.of_mean}"


def interval_text(interval: Interval, unit: Unit = PERCENT) -> str:
    """Return an interval in percent or points, or in its metric's own unit."""
    low, high = (f"{unit.factor * end:.{unit.decimals}f}" for end in (interval.low, interval.high))
    return f"[{low}, {high}]"


def head_text(name: str, metric: ComparedMetric) -> str:
    """Return a metric's name with its unit where that is percent."""
    return f"{name.upper()} %" if metric.unit == PERCENT else name.upper()


def spread_text(metric: ComparedMetric) -> str:
    """Return the standard deviation over seeds in points, or nothing with one seed."""
    return "" if metric.seed_spread is None else amount(metric.seed_spread, metric.unit)


def has_spread(section: ComparedSection) -> bool:
    """Return whether any row has more than one seed to tell apart."""
    return any(metric.seed_spread is not None for row in section.rows for metric in row.metrics.values())


def describe_tests(section: ComparedSection) -> str:
    """Return which metrics are not shown, and which paired tests stand behind the p-values of those that are."""
    return " ".join(filter(None, (_describe_left_out(section), _describe_p_values(section))))


def _describe_left_out(section: ComparedSection) -> str:
    if not section.left_out:
        return ""
    return (
        f"Not all runs measured {', '.join(section.left_out).upper()}, which is left out: evaluate the others with the "
        "same settings of eval (a judge's among them) and version, or compare only those that have it."
    )


def _describe_p_values(section: ComparedSection) -> str:
    """Return which paired tests stand behind each metric's p-values, and how much they could have missed."""
    tests: dict[str, list[str]] = {}
    detectable: dict[Unit, float] = {}
    for name, metric in [pair for row in section.rows for pair in row.metrics.items()]:
        if found := metric.paired:
            tests.setdefault(found.test, []).append(name.upper())
            detectable[metric.unit] = max(detectable.get(metric.unit, 0.0), found.detectable)
    if not tests:
        return ""
    named = "; ".join(f"{test} for {', '.join(dict.fromkeys(names))}" for test, names in tests.items())
    unnoticed = " or ".join(_describe_least(unit, most) for unit, most in detectable.items())
    return (
        f"p: {named}; adjusted (Holm) for the {sum(map(len, tests.values()))} shown. "
        "Intervals of differences: what the unadjusted test does not reject, widened for few questions. "
        f"Differences {unnoticed} may go unnoticed (80 % power)."
    )


def _describe_least(unit: Unit, detectable: float) -> str:
    """Say which differences a test may miss; with few questions, and values without an end, it may miss any."""
    if math.isinf(detectable):
        return f"of any size in {unit.of_difference}"
    return f"under {unit.factor * detectable:.{unit.decimals}f} {unit.of_difference}"


def name_sections(sections: Sequence[ComparedSection]) -> list[str]:
    """Return a short name for each section, for headings and columns: its task, with what else tells it from others."""
    names = [str(section.facts["task"]) for section in sections]
    for key in TELLING:
        for name in {name for name in names if names.count(name) > 1}:
            same = {i: sections[i].facts[key] for i, other in enumerate(names) if other == name}
            if len({str(fact) for fact in same.values()}) > 1:
                for i, fact in same.items():
                    names[i] = f"{name}-{_short(key, fact)}"
    return tell_apart([shorten(name) for name in names], "{}-{}")


def _short(key: str, fact: Any) -> str:
    """Return the last part of a path or a name, or the tokens that texts begin with, or what is not there."""
    if isinstance(fact, list):
        return "".join(fact) or "no-bos"
    if key == "chat_template":
        return f"chat-{fact}" if fact else "no-chat"
    return ABSENT[key] if fact is None else str(fact).rstrip("/").rpartition("/")[2]
