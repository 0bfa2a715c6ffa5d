"""Which runs stand in one table, and which of them share a row."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lofit_cli.artifacts.evaluations import Evaluation, MeasuredRun
from lofit_cli.artifacts.facts import separating
from lofit_cli.artifacts.manifest import ROWS, ROWS_IF_ASKED, TABLES
from lofit_cli.errors import UserError, did_you_mean

TABLE_FACTS = separating(TABLES)
"""What the runs of one table have in common."""
ROW_FACTS = separating(ROWS)
"""What the runs of one row have in common by default, with all of `made_by`."""
NAMEABLE = (*ROW_FACTS, *separating(ROWS_IF_ASKED))
"""The facts that `group_by` can name, beside the settings in `made_by`."""
BASE_MODEL = "base model"
"""What tables and figures call the row of `method=none`."""


@dataclass(frozen=True, eq=False)
class Group:
    """The runs of one row.

    Attributes:
        runs: by fold, then seed, one of each.
        reruns: (older, newer) runs of the same fold and seed; the older one is left out.
    """

    label: str
    runs: tuple[MeasuredRun, ...]
    reruns: tuple[tuple[Evaluation, Evaluation], ...] = ()


def split_sections(evaluations: Sequence[MeasuredRun]) -> list[list[MeasuredRun]]:
    """Return the runs of each model (by its weights), dtype, task, split and protocol, in the order they were found."""
    return _split(evaluations, lambda run: [getattr(run.manifest, name) for name in TABLE_FACTS])


def require_same_questions(section: Sequence[MeasuredRun]) -> None:
    """Refuse runs of one fold that measured different questions.

    Raises:
        UserError: two runs of a fold can't be paired.
    """
    first: dict[int, MeasuredRun] = {}
    for run in section:
        other = first.setdefault(run.fold, run)
        if run.manifest.questions_hash != other.manifest.questions_hash:
            raise UserError(
                f"{run.path} and {other.path} cannot be paired: both are fold {run.fold} of {run.manifest.task} and "
                "their questions_hash differs; compare runs that scored the same questions"
            )
        judges, others = (evaluation.manifest.judges for evaluation in (run, section[0]))
        if judges and others and judges != others:
            raise UserError(
                f"{run.path} and {section[0].path} cannot be paired: they were judged by {judges} and {others}; "
                "evaluate both with the same eval.judge_true and eval.judge_info"
            )
        if run.question_ids != other.question_ids:
            raise UserError(f"{run.path} and {other.path} scored different questions and cannot be paired")


def group_runs(section: Sequence[MeasuredRun], group_by: Sequence[str] | None) -> list[Group]:
    """Return the rows of a table, in the order they were found, each with a label of its own.

    Args:
        group_by: names of manifest facts or of settings in `made_by`; None pools what differs in seed and fold only.
    """
    groups = _split(section, lambda run: _default_key(run) if group_by is None else [fact(run, n) for n in group_by])
    labels = _default_labels(groups) if group_by is None else [_named_label(group, group_by) for group in groups]
    return [_without_reruns(label, group) for label, group in zip(tell_apart(labels), groups, strict=True)]


def tell_apart(names: Sequence[str], numbered: str = "{} ({})") -> list[str]:
    """Return names that all differ: one that came before has a number after it."""
    told: list[str] = []
    for name in names:
        number, other = 1, name
        while other in told:
            number += 1
            other = numbered.format(name, number)
        told.append(other)
    return told


def require_known(group_by: Sequence[str], evaluations: Sequence[Evaluation]) -> None:
    """Refuse a name in `group_by` that is neither a fact nor a setting of any run.

    Raises:
        UserError: there is one.
    """
    allowed = {*NAMEABLE, *(name for run in evaluations for name in run.made_by)}
    for name in group_by:
        if name not in allowed:
            raise UserError(f"group_by: {name} is not known; {did_you_mean(name, allowed)}")


def fact(run: Evaluation, name: str) -> Any:
    """Return what a run's manifest says under a name: a fact of its own or a setting in `made_by`.

    A run without a label has its method, with its heads, in that place.
    """
    return _short_label(run) if name == "label" else _stated(run, name)


def _stated(run: Evaluation, name: str) -> Any:
    return getattr(run.manifest, name) if name in NAMEABLE else run.made_by.get(name)


def _split(runs: Sequence[MeasuredRun], key: Any) -> list[list[MeasuredRun]]:
    parts: dict[str, list[MeasuredRun]] = {}
    for run in runs:
        # Settings may be lists, so a key is compared as text.
        parts.setdefault(json.dumps(key(run), sort_keys=True), []).append(run)
    return list(parts.values())


def _default_key(run: Evaluation) -> list[Any]:
    if run.manifest.method == "none":
        # How much there was to train on says nothing of a model that wasn't trained.
        return ["none"]
    return [*(getattr(run.manifest, name) for name in ROW_FACTS), run.made_by]


def _short_label(run: Evaluation) -> str:
    """Return its label or the method with its heads, as rows and bars are named."""
    made = run.manifest
    if made.label:
        return made.label
    return f"{made.method} ({made.num_heads} {made.selector} heads)" if made.num_heads else name_method(made.method)


def name_method(method: str) -> str:
    """Return what a person calls a method."""
    return BASE_MODEL if method == "none" else method


def _default_labels(groups: Sequence[Sequence[MeasuredRun]]) -> list[str]:
    """Return short labels, with the settings in which groups of the same label differ."""
    labels = [_short_label(group[0]) for group in groups]
    return [
        ", ".join(
            [label, *_settings(group[0], [g[0] for g, same in zip(groups, labels, strict=True) if same == label])]
        )
        for label, group in zip(labels, groups, strict=True)
    ]


def _settings(run: Evaluation, others: Sequence[Evaluation]) -> list[str]:
    """Return `name=value` for each setting in which these runs, all of one short label, differ."""
    names = dict.fromkeys(["num_train", *(name for other in others for name in other.made_by)])
    differing = [name for name in names if len({_text(fact(other, name)) for other in others}) > 1]
    # The number of parameters follows from the settings, and is only worth showing where these are not known.
    if len(others) > 1 and not differing:
        differing = ["num_trained_parameters"]
    return [f"{name}={_text(fact(run, name))}" for name in differing]


def _named_label(group: Sequence[Evaluation], group_by: Sequence[str]) -> str:
    facts = {name: fact(group[0], name) for name in group_by}
    return ", ".join(
        name_method(str(found)) if name in ("label", "method") else f"{name}={_text(found)}"
        for name, found in facts.items()
    )


def _text(value: Any) -> str:
    """Return a value as it is written on the command line."""
    return value if isinstance(value, str) else json.dumps(value)


def _without_reruns(label: str, group: Sequence[MeasuredRun]) -> Group:
    """Keep the newest run of each fold and seed.

    Raises:
        UserError: two of them were made in different ways, so that neither repeats the other.
    """
    newest: dict[tuple[int, str], MeasuredRun] = {}
    reruns = []
    for run in sorted(group, key=lambda run: run.manifest.ended_at):
        place = (run.fold, run.seed)
        if place in newest:
            _require_same_making(newest[place], run)
            reruns.append((newest[place], run))
        newest[place] = run
    return Group(label, tuple(newest[place] for place in sorted(newest)), tuple(reruns))


def differing_settings(runs: Sequence[Evaluation]) -> list[str]:
    """Return the names of what these runs differ in, beside seed and fold."""
    names = dict.fromkeys([*ROW_FACTS, *(name for run in runs for name in run.made_by)])
    return [name for name in names if any(_stated(run, name) != _stated(runs[0], name) for run in runs)]


def _require_same_making(first: Evaluation, second: Evaluation) -> None:
    differing = differing_settings([first, second])
    if _default_key(first) == _default_key(second) or not differing:
        return
    raise UserError(
        f"group_by puts {first.path} and {second.path} into one row, both of fold {first.fold} and seed {first.seed}; "
        f"they differ in {', '.join(differing)}: add one of these"
    )
