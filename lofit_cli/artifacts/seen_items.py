"""What a run has learnt from, so that nothing is measured on its own training data.

Every run of `train-offsets` lists its items in `seen_items.json`; one built on another's lists that one's as well.
"""

from collections.abc import Iterable
from pathlib import Path

from lofit_cli.artifacts.files import read_json, write_json
from lofit_cli.artifacts.finished_runs import require_unchanged
from lofit_cli.artifacts.leftovers import SEEN_ITEMS
from lofit_cli.artifacts.manifest import Making
from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.console import say
from lofit_cli.errors import UserError


def add_seen(folder: Path, items: Iterable[str]) -> None:
    """Add items, named by the hash of their content, to those that the run in a folder has seen."""
    write_json(folder / SEEN_ITEMS, sorted(read_seen(folder) | set(items)))


def read_seen(folder: Path) -> set[str]:
    """Return the items that the run in a folder has seen: none if it learnt from none.

    Raises:
        UserError: the file that lists them is damaged, or was changed since the run ended.
    """
    file = folder / SEEN_ITEMS
    if file.exists():
        require_unchanged(folder, SEEN_ITEMS)
    items = read_json(file) if file.exists() else []
    if not isinstance(items, list) or not all(isinstance(item, str) and item for item in items):
        raise UserError(
            f"{file} is damaged: it should be a list of texts, and without it what {folder} has learnt from is not "
            "known; copy it anew, or run that stage again"
        )
    return set(items)


def inherit_seen(run: RunDir, source: Path, made: Making | None) -> None:
    """Add what a file or run directory that a run is built on has learnt from; note it where that is not known.

    Args:
        made: what the manifest of `source` states, where it has one.
    """
    folder = source if source.is_dir() else source.parent
    unknown = [*run.facts.get("unknown_history", []), *(made.unknown_history if made else [])]
    if (folder / SEEN_ITEMS).exists():
        add_seen(run.path, read_seen(folder))
    else:
        say(
            f"note: {source} has no {SEEN_ITEMS} beside it, so what it has learnt from is not known; results built on "
            "it say so"
        )
        unknown.append(str(source))
    run.record(unknown_history=list(dict.fromkeys(unknown)))


def refuse_seen(folder: Path, items: Iterable[str]) -> None:
    """Refuse to measure the run in a folder on items it has seen.

    Raises:
        UserError: it has seen one or more of them, or does not say what it has seen.
    """
    if not (folder / SEEN_ITEMS).exists():
        raise UserError(
            f"intervention={folder} has no {SEEN_ITEMS}, so that what it has learnt from is not known; copy that file "
            "as well, or train it again"
        )
    measured = set(items)
    if shared := len(measured & read_seen(folder)):
        raise UserError(
            f"intervention={folder} has learnt from {shared} of these {len(measured)} test questions, so its score "
            "would be worthless; evaluate it on the task.fold and task.data_dir that it was trained for"
        )
