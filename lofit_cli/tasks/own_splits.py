"""Splits of the user's own items: by file, and by a hash of each item's text where a file is missing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lofit_cli.artifacts.files import content_hash, write_json
from lofit_cli.console import say
from lofit_cli.errors import UserError
from lofit_cli.schema.sources import SPLITS
from lofit_cli.schema.tasks import SharedOutConfig
from lofit_cli.tasks.same_text import same_text
from lofit_cli.tasks.task import AnyItem, Item, Task

HASH_SIZE = 16**16


def fill_splits(
    given: Mapping[str, list[AnyItem]], texts: Sequence[str], shares: Mapping[str, float]
) -> dict[str, list[AnyItem]]:
    """Return the splits, those that are missing taken from the training items, as far as there are any.

    Where an item goes depends on its own text, so that adding items moves no other.

    Args:
        texts: what each training item asks, in whatever words it is shown.
        shares: of the training items and of what is missing; what has files keeps all of its items.
    """
    if "train" not in given or not (missing := [split for split in SPLITS if split not in given]):
        return dict(given)
    drawn = {split: shares.get(split, 0.0) for split in ("train", *missing)}
    parts: dict[str, list[AnyItem]] = {split: [] for split in drawn}
    for item, text in zip(given["train"], texts, strict=True):
        parts[_place(text, drawn)].append(item)
    sizes = ", ".join(f"{len(part)} for {split}" for split, part in parts.items())
    say(f"{len(given['train'])} rows are split by their text: {sizes}; task.shares says otherwise")
    return {**given, **parts}


def _place(text: str, shares: Mapping[str, float]) -> str:
    """Return the split in whose share of all hashes the text's lies."""
    point = int(content_hash(same_text(text))[:16], 16) / HASH_SIZE * sum(shares.values())
    for split, share in shares.items():
        point -= share
        if point < 0:
            return split
    return "train"


def refuse_shared_items(splits: Mapping[str, Sequence[Item]]) -> None:
    """Refuse items that stand in two splits, however they were typed: what was trained on would be measured."""
    known: dict[str, str] = {}
    shared: list[tuple[Item, str, str]] = []
    for split, items in splits.items():
        for item in items:
            first = known.setdefault(item.fingerprint, split)
            if first != split:
                shared.append((item, first, split))
    if shared:
        item, first, second = shared[0]
        raise UserError(
            f"{'1 item stands' if len(shared) == 1 else f'{len(shared)} items stand'} in two splits, {item.name} for "
            f"one, in {first} and in {second}; remove {'it' if len(shared) == 1 else 'them'} from one of these"
        )


def write_splits(task: Task[Any], folder: Path) -> None:
    """Write `splits.json`: which items are in which split, where the splits are ours and no benchmark's own."""
    if isinstance(task.config, SharedOutConfig):
        write_json(folder / "splits.json", {split: [item.id for item in items] for split, items in task.splits.items()})
