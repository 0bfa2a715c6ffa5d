"""Finding finished evaluate runs and reading what a comparison needs of them."""

import glob
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lofit_cli.artifacts.predictions import read_metrics
from lofit_cli.artifacts.run_dir import MANIFEST, is_finished, read_manifest
from lofit_cli.errors import UserError

MIN_QUESTIONS = 2


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A finished evaluate run, as its manifest tells of it."""

    path: Path
    manifest: dict[str, Any]

    @property
    def fold(self) -> int:
        """Return the fold whose questions were measured."""
        return int(self.manifest["fold"])

    @property
    def seed(self) -> str:
        """Return the seed behind the intervention, with that of its heads where this is another one."""
        seed, of_heads = self.manifest["seed"], self.manifest.get("selection_seed")
        return str(seed) if of_heads in (None, seed) else f"{seed} (heads {of_heads})"

    @property
    def made_by(self) -> dict[str, Any]:
        """Return the settings of the runs that made the intervention."""
        settings: dict[str, Any] = self.manifest.get("made_by") or {}
        return settings


@dataclass(frozen=True, eq=False)
class MeasuredRun(Evaluation):
    """A finished evaluate run with a value for each question: as large as its split.

    Attributes:
        question_ids: in the order of the run's split.
        categories: what each question is about.
        values: metric -> (num_questions,), a value a question.
    """

    question_ids: list[str]
    categories: list[str]
    values: dict[str, NDArray[np.float64]]

    def without_questions(self) -> Evaluation:
        """Return what a table says of a run once its questions are compared."""
        return Evaluation(self.path, self.manifest)


def find_evaluations(patterns: Iterable[str]) -> list[Path]:
    """Expand directories and globs, in order and without repeats.

    A directory or match that is no run itself stands for the finished evaluate runs anywhere below it.

    Raises:
        UserError: a pattern matches none.
    """
    found: list[Path] = []
    for pattern in patterns:
        runs = _expand(pattern)
        if not runs:
            raise UserError(f"runs: nothing matches {pattern}; name finished evaluate runs, or run `lofit evaluate`")
        found.extend(runs)
    return list({path.resolve(): path for path in found}.values())


def _expand(pattern: str) -> list[Path]:
    named = Path(pattern)
    if named.is_dir():
        # A directory named as it is must be what it was taken for; read_evaluation says why it isn't.
        return [named] if (named / MANIFEST).exists() else _finished_below(named) or [named]
    matches = map(Path, sorted(glob.glob(pattern, recursive=True)))
    return [run for match in matches if match.is_dir() for run in _finished_below(match)]


def _finished_below(folder: Path) -> list[Path]:
    """Return the folder if it holds a run (nothing unless a finished evaluate run), else those below it."""
    files = [folder / MANIFEST] if (folder / MANIFEST).exists() else sorted(folder.rglob(MANIFEST))
    return [file.parent for file in files if is_finished(file.parent, "evaluate")]


def read_evaluation(path: Path) -> MeasuredRun:
    """Read an evaluate run's manifest and predictions, without the texts.

    Raises:
        UserError: not a finished evaluate run, or it measured too few questions for an interval.
    """
    manifest = read_manifest(path, "evaluate", "runs")
    found = read_metrics(path, manifest["metrics"])
    if len(found.question_ids) < MIN_QUESTIONS:
        raise UserError(f"{path} scored fewer than {MIN_QUESTIONS} questions; an interval needs at least that many")
    return MeasuredRun(path, manifest, found.question_ids, found.categories, found.values)
