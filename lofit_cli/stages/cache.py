"""`lofit cache`: what was computed once and is kept for other runs, and how to be rid of it."""

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.filesize import decimal

from lofit_cli.artifacts.cache import Entry, clear, find_entries, max_bytes
from lofit_cli.artifacts.cache_dir import cache_dir
from lofit_cli.console import say, show_text
from lofit_cli.report.tables import Table, left_and_right, show_table
from lofit_cli.stages.runs import age


def list_cache(as_json: bool) -> list[Entry]:
    """Print each kind of what is kept, with its number of entries, size and last use, and return the entries.

    Raises:
        UserError: the limit on its size is none.
    """
    entries, limit = find_entries(), max_bytes()
    if as_json:
        kinds = [_record(kind, own) for kind, own in _by_kind(entries).items()]
        about = {"folder": str(cache_dir()), "max_bytes": limit, "kinds": kinds}
        show_text(json.dumps(about, indent=2) + "\n")
    elif not entries:
        say(f"nothing that was computed is kept in {cache_dir()}")
    else:
        _show(entries, limit)
    return entries


def clear_cache() -> None:
    """Remove all that was computed, and say what that was."""
    removed = clear()
    say(f"removed {len(removed)} entries, {decimal(_size(removed))}")


def _show(entries: Sequence[Entry], limit: int) -> None:
    rows = [[kind, str(len(own)), decimal(_size(own)), age(_last_use(own))] for kind, own in _by_kind(entries).items()]
    columns = left_and_right("computed once", "entries", "size", "last used")

    show_table(Table(f"Kept in {cache_dir()}", columns, rows, f"{decimal(_size(entries))} of at most {decimal(limit)}"))


def _record(kind: str, entries: Sequence[Entry]) -> dict[str, object]:
    """Return what `--json` says of a kind."""
    about = {"num_entries": len(entries), "num_bytes": _size(entries)}
    return {"kind": kind, **about, "last_used": _last_use(entries).isoformat()}


def _by_kind(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    kinds = sorted({entry.kind for entry in entries})
    return {kind: [entry for entry in entries if entry.kind == kind] for kind in kinds}


def _size(entries: Sequence[Entry]) -> int:
    return sum(entry.num_bytes for entry in entries)


def _last_use(entries: Sequence[Entry]) -> datetime:
    # A clock that was wrong may have noted a time to come, or one that is no date.
    return datetime.fromtimestamp(min(time.time(), max(entry.used_at for entry in entries)), UTC)
