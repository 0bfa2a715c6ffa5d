"""Finding finished evaluate runs and reading what a comparison needs of them."""

import glob
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lofit_cli.artifacts.facts import separating
from lofit_cli.artifacts.finished_runs import claims, note_left_out, read_manifest, require_draws, require_unchanged
from lofit_cli.artifacts.manifest import MANIFEST, TABLES, EvaluateManifest, TrainOffsetsManifest
from lofit_cli.artifacts.predictions import FILE_NAME, Measured, read_metrics
from lofit_cli.errors import UnusableRunError, UserError

MIN_QUESTIONS = 2
SAME_MEASUREMENT = (*separating(TABLES), "questions_hash")
"""What two evaluations have in common that measured the same model, as far as it is loaded, on the same questions."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A finished evaluate run, as its manifest tells of it."""

    path: Path
    manifest: EvaluateManifest

    @property
    def fold(self) -> int:
        """Return the fold whose questions were measured."""
        return self.manifest.fold

    @property
    def seed(self) -> str:
        """Return the seed behind the intervention, with what else sets it apart from one made in the same way.

        That is the seed of its heads or of the run that it was built on, where this is another one; and the fold it was
        trained on, where it was measured on another. Fold 0 is not named: tasks without folds have that one alone, and
        what was trained on one of them is the same on both folds of TruthfulQA.
        """
        made = self.manifest
        found = {"heads": (made.selection_seed, made.seed), "source": (made.source_seed, made.seed)}
        found["trained on fold"] = (made.trained_fold or None, made.fold)
        others = [f"{name} {value}" for name, (value, usual) in found.items() if value not in (None, usual)]
        return f"{made.seed} ({', '.join(others)})" if others else str(made.seed)

    @property
    def made_by(self) -> dict[str, Any]:
        """Return the settings of the runs that made the intervention."""
        return self.manifest.made_by

    def is_of(self, made: TrainOffsetsManifest) -> bool:
        """Return whether it measured what this run made: a run directory's name may be used again by another one."""
        return all(getattr(self.manifest, name) == value for name, value in made.repeated().items())


@dataclass(frozen=True, eq=False)
class MeasuredRun(Evaluation):
    """A finished evaluate run with a value for each question: as large as its split.

    Attributes:
        question_ids: in the order of the run's split.
        categories: what each question is about.
        values: metric -> (num_questions,), a value a question.
        draws: metric -> (num_draws, num_questions), the same of random selections beside the selected heads, if any.
    """

    question_ids: list[str]
    categories: list[str]
    values: dict[str, NDArray[np.float64]]
    draws: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def without_questions(self) -> Evaluation:
        """Return what a table says of a run once its questions are compared."""
        return Evaluation(self.path, self.manifest)


def read_evaluations(patterns: Iterable[str]) -> list[MeasuredRun]:
    """Read the runs that directories and globs stand for, in order and without repeats.

    A directory or match that is no run itself stands for the finished evaluate runs anywhere below it; of these, what
    is damaged is named and left out.

    Raises:
        UserError: a pattern matches none, or a directory named as it is holds none that can be compared.
    """
    found: dict[Path, MeasuredRun] = {}
    for pattern in patterns:
        runs = _read_named(pattern)
        if not runs:
            is_there = Path(pattern).exists() or glob.glob(pattern)
            there = "holds no finished evaluate run" if is_there else "matches nothing"
            raise UserError(f"runs: {pattern} {there}; name some, as in 'runs=[runs/demo]', or run `lofit evaluate`")
        found |= {run.path.resolve(): run for run in runs if run.path.resolve() not in found}
    return list(found.values())


def _read_named(pattern: str) -> list[MeasuredRun]:
    named = Path(pattern)
    if (named / MANIFEST).exists():
        return [read_evaluation(named)]
    folders = [named] if named.is_dir() else map(Path, sorted(glob.glob(pattern, recursive=True)))
    found, damaged = [], []
    for path in dict.fromkeys(run for folder in folders if folder.is_dir() for run in _claimed_below(folder)):
        try:
            found.append(read_evaluation(path))
        except UnusableRunError as error:
            damaged.append(str(error))
    note_left_out(damaged)
    return found


def _claimed_below(folder: Path) -> list[Path]:
    """Return the folder if it holds a run (nothing unless a finished evaluate run), else those below it."""
    files = [folder / MANIFEST] if (folder / MANIFEST).exists() else sorted(folder.rglob(MANIFEST))
    return [file.parent for file in files if claims(file.parent, EvaluateManifest)]


def read_evaluation(path: Path) -> MeasuredRun:
    """Read an evaluate run's manifest and predictions, without the texts.

    Raises:
        UserError: not a finished evaluate run, or it measured too few questions for an interval.
    """
    manifest = read_manifest(path, EvaluateManifest, "runs")
    require_unchanged(path, FILE_NAME)
    found = read_metrics(path, manifest.metrics)
    if len(found.question_ids) < MIN_QUESTIONS:
        raise UnusableRunError(
            f"{path} scored fewer than {MIN_QUESTIONS} questions; an interval needs at least that many"
        )
    draws = _read_draws(path, manifest, found)
    return MeasuredRun(path, manifest, found.question_ids, found.categories, found.values, draws)


def _read_draws(path: Path, manifest: EvaluateManifest, measured: Measured) -> dict[str, NDArray[np.float64]]:
    """Return what an evaluate run measured of random selections, metric by metric, but for what judges said."""
    files = require_draws(path, manifest, FILE_NAME)
    if not files:
        return {}
    metrics = [metric for metric in manifest.metrics if metric not in manifest.judges]
    found = [read_metrics(file.parent, metrics) for file in files]
    if any(draw.question_ids != measured.question_ids for draw in found):
        raise UnusableRunError(f"{path} has draws that measured other questions; evaluate it again")
    return {metric: np.stack([draw.values[metric] for draw in found]) for metric in metrics}


def is_of_base(manifest: EvaluateManifest, facts: Mapping[str, Any]) -> bool:
    """Return whether this is an evaluation of the model as it is, on the same questions as another, told by facts."""
    return manifest.method == "none" and all(getattr(manifest, name) == facts[name] for name in SAME_MEASUREMENT)


def find_base_run(runs_dir: Path, facts: Mapping[str, Any]) -> Path | None:
    """Return the newest finished evaluation of the model as it is, on the same questions; None where there is none.

    Args:
        facts: what the manifest of the run to be set beside it will state.
    """
    found = []
    for folder in _claimed_below(runs_dir / EvaluateManifest.STAGE) if runs_dir.is_dir() else []:
        # It is only to be shown beside another one: what is damaged is passed over, and `compare` names it.
        with suppress(UserError):
            manifest = read_manifest(folder, EvaluateManifest, "runs_dir")
            if is_of_base(manifest, facts):
                require_unchanged(folder, FILE_NAME)
                found.append((manifest.ended_at, folder))
    return max(found)[1] if found else None
