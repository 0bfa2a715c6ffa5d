"""What a run has learnt from, so that nothing is measured on its own training data.

Every run of `train-offsets` lists its items in `seen_items.json`; one built on another's lists that one's as well.
"""

from collections.abc import Iterable
from pathlib import Path

from lofit_cli.artifacts.files import read_json, write_json
from lofit_cli.artifacts.run_dir import SEEN_ITEMS
from lofit_cli.errors import UserError


def add_seen(folder: Path, items: Iterable[str]) -> None:
    """Add items, named by the hash of their content, to those that the run in a folder has seen."""
    write_json(folder / SEEN_ITEMS, sorted(read_seen(folder) | set(items)))


def read_seen(folder: Path) -> set[str]:
    """Return the items that the run in a folder has seen: none if it learnt from none."""
    file = folder / SEEN_ITEMS
    return set(read_json(file)) if file.exists() else set()


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
