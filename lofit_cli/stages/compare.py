"""Stage 4: set runs side by side, each against a baseline, question by question."""

import glob
from collections.abc import Sequence
from pathlib import Path

from lofit_cli.analysis.comparison import ComparedSection, compare_section
from lofit_cli.analysis.grouping import (
    Group,
    differing_settings,
    group_runs,
    require_known,
    require_same_questions,
    split_sections,
)
from lofit_cli.artifacts.evaluations import Evaluation, MeasuredRun, read_evaluations
from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.console import say
from lofit_cli.errors import UserError
from lofit_cli.report.comparison.write import write_comparison
from lofit_cli.schema.stages import CompareConfig


def compare(config: CompareConfig, run: RunDir) -> list[ComparedSection]:
    """Compare evaluate runs; print a table a task and write tables, figures and an HTML report.

    Runs of one model, dtype, task, split and protocol stand in one table; a row pools runs over seeds and folds.

    Raises:
        UserError: no runs, or runs of one table and fold that did not score the same questions.
    """
    default = f"{glob.escape(config.runs_dir)}/evaluate/*"
    sections, paths = _compare_all(config.runs or [default], config)
    run.record(sections=[_facts(section) for section in sections])
    run.record(runs=[str(path) for path in paths])
    write_comparison(sections, run.path)
    return sections


def _compare_all(patterns: Sequence[str], config: CompareConfig) -> tuple[list[ComparedSection], list[Path]]:
    """Return the tables and the runs in them; the values of the questions, which may be large, are let go here."""
    evaluations = read_evaluations(patterns)
    chosen = _named(evaluations, config.baseline)
    if config.group_by:
        require_known(config.group_by, evaluations)
    _note_other_weights(evaluations)
    sections = [_compare(part, chosen, config) for part in split_sections(evaluations)]
    return sections, [evaluation.path for evaluation in evaluations]


def _named(evaluations: Sequence[Evaluation], name: str | None) -> Evaluation | None:
    """Return the run that `baseline` names."""
    for evaluation in evaluations:
        if name is not None and evaluation.path.resolve() == Path(name).resolve():
            return evaluation
    if name is None:
        return None
    listed = ", ".join(str(evaluation.path) for evaluation in evaluations)
    raise UserError(f"baseline={name} is not one of the runs compared; choose one of {listed}")


def _compare(part: Sequence[MeasuredRun], chosen: Evaluation | None, config: CompareConfig) -> ComparedSection:
    """Compare the runs of one section."""
    require_same_questions(part)
    groups = group_runs(part, config.group_by)
    for group in groups:
        _note_reruns(group)
        if config.group_by:
            _note_mixed(group)
    return compare_section(groups, _baseline(groups, chosen), config.num_resamples, config.seed)


def _note_other_weights(evaluations: Sequence[Evaluation]) -> None:
    hashes: dict[tuple[str, str], set[str]] = {}
    for run in evaluations:
        hashes.setdefault((run.manifest.model, run.manifest.dtype), set()).add(run.manifest.model_hash)
    for (model, _), found in hashes.items():
        if len(found) > 1:
            say(f"note: not all runs of model '{model}' have the same model_hash; a table for each")


def _note_mixed(group: Group) -> None:
    if differing := differing_settings(group.runs):
        say(f"note: row '{group.label}' pools runs that differ in {', '.join(differing)}")


def _note_reruns(group: Group) -> None:
    for older, newer in group.reruns:
        say(f"note: {newer.path} repeats {older.path} ({group.label}, same fold and seed); taking the newer one")


def _baseline(groups: Sequence[Group], chosen: Evaluation | None) -> Group:
    """Return the group of the run that was named, else the one without an intervention, else the first."""
    for group in groups:
        # A run that another one repeats stands for its group too.
        if chosen in (*group.runs, *(older for older, _ in group.reruns)):
            return group
    return next((g for g in groups if all(run.manifest.method == "none" for run in g.runs)), groups[0])


def _facts(section: ComparedSection) -> dict[str, object]:
    """Return what the manifest says of a section."""
    baseline = [str(run.path) for run in section.rows[0].runs]
    hashes = {run.fold: run.manifest.questions_hash for run in section.runs}
    return {**section.facts, "folds": list(section.folds), "questions_hash": hashes, "baseline": baseline}
