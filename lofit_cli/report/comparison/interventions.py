"""What stands behind the runs of a comparison: each intervention's heads, training curve and candidates."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lofit_cli.artifacts.evaluations import Evaluation
from lofit_cli.artifacts.files import read_bytes
from lofit_cli.artifacts.finished_runs import read_manifest, require_unchanged
from lofit_cli.artifacts.head_scores import FILE_NAME, HeadScores, read_head_scores
from lofit_cli.artifacts.manifest import TrainOffsetsManifest
from lofit_cli.errors import UserError

MAX_SHOWN = 60
"""As many interventions are drawn; a page with more would be too large."""
MAX_LINE_BYTES = 20_000_000
"""A larger history is not read."""
Point = tuple[float, float]


@dataclass(frozen=True)
class Candidates:
    """What was tried on the validation split: a table whose first columns are the settings."""

    columns: list[str]
    rows: list[list[float | None]]
    chosen: int | None


@dataclass(frozen=True, eq=False)
class MadeIntervention:
    """A train-offsets run that evaluations of a comparison have measured.

    Attributes:
        labels: the rows that it stands in, with its fold and seed.
        fault: why nothing of it can be shown; empty where it can.
        training, validation: (step, loss) of each step and of each look at the validation split.
    """

    path: str
    labels: list[str]
    fault: str = ""
    heads: HeadScores | None = None
    training: list[Point] = field(default_factory=list)
    validation: list[Point] = field(default_factory=list)
    candidates: Candidates | None = None

    @property
    def is_empty(self) -> bool:
        """Return whether the run left nothing that could be drawn."""
        return not (self.heads or self.training or self.candidates)


def collect_interventions(runs: Sequence[tuple[str, Evaluation]]) -> list[MadeIntervention]:
    """Return each distinct intervention of these runs once, in their order.

    Args:
        runs: with a label each.
    """
    users: dict[str, list[tuple[str, Evaluation]]] = {}
    for label, run in runs:
        if run.manifest.intervention is not None:
            users.setdefault(run.manifest.intervention, []).append((label, run))
    return [_read(path, found, number < MAX_SHOWN) for number, (path, found) in enumerate(users.items())]


def _read(path: str, users: Sequence[tuple[str, Evaluation]], is_shown: bool) -> MadeIntervention:
    labels = list(dict.fromkeys(label for label, _ in users))
    if not is_shown:
        return MadeIntervention(path, labels, "is left out: this page draws no more of them")
    folder = _find(path, [run for _, run in users])
    if isinstance(folder, str):
        return MadeIntervention(path, labels, folder)
    try:
        manifest = read_manifest(folder, TrainOffsetsManifest, "intervention")
        training, validation = _read_curves(folder)
        require_unchanged(folder, FILE_NAME)
        heads = read_head_scores(folder / FILE_NAME) if (folder / FILE_NAME).exists() else None
        return MadeIntervention(
            str(folder), labels, "", heads, training, validation, _read_candidates(folder, manifest)
        )
    except (UserError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        return MadeIntervention(path, labels, f"can't be read: {str(error).partition(chr(10))[0]}")


def _find(path: str, runs: Sequence[Evaluation]) -> Path | str:
    """Return the run directory of an intervention, or what is to be said of it.

    It is where the evaluation found it, or beside the evaluation where both were moved together. What is there now must
    have been made as the evaluation says, because a run directory's name may be used again.
    """
    moved = [run.path.resolve().parent.parent / Path(path).parent.name / Path(path).name for run in runs]
    there = [folder for folder in dict.fromkeys([Path(path), *moved]) if _is_folder(folder)]
    for folder in there:
        try:
            made = read_manifest(folder, TrainOffsetsManifest, "intervention")
        except UserError:
            continue
        if all(run.is_of(made) for run in runs):
            return folder
    return "is another run today than the one that was measured" if there else "is not there any more"


def _is_folder(path: Path) -> bool:
    """Return whether a path names a folder; what a manifest states may be too long for one, or no path at all."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _read_curves(folder: Path) -> tuple[list[Point], list[Point]]:
    steps, looks = (_read_lines(folder / name) for name in ("history.jsonl", "validation.jsonl"))
    last_step = {line["epoch"]: float(line["step"]) for line in steps}
    training = [(float(line["step"]), float(line["task_loss"])) for line in steps]
    return training, [(last_step[line["epoch"]], float(line["loss"])) for line in looks if line["epoch"] in last_step]


def _read_candidates(folder: Path, manifest: TrainOffsetsManifest) -> Candidates | None:
    lines = _read_lines(folder / "candidates.jsonl")
    if not lines:
        return None
    names = list(dict.fromkeys(name for line in lines for name in line))
    columns = [name for name in names if any(line.get(name) is not None for line in lines)]
    chosen = [i for i, line in enumerate(lines) if (line["alpha"], line["layer"]) == (manifest.alpha, manifest.layer)]
    rows = [[None if line.get(name) is None else float(line[name]) for name in columns] for line in lines]
    return Candidates(columns, rows, chosen[0] if chosen else None)


def _read_lines(file: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON-lines file, none where it is not there; a line that was cut off ends it."""
    if not file.is_file() or file.stat().st_size > MAX_LINE_BYTES:
        return []
    return list(_parse_lines(read_bytes(file).decode("utf-8", errors="replace").splitlines()))


def _parse_lines(lines: Iterable[str]) -> Iterable[dict[str, Any]]:
    for line in lines:
        try:
            content = json.loads(line)
        except ValueError:
            return
        if isinstance(content, dict):
            yield content
