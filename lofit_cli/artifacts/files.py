"""Writing whole files or none, and reading them with errors that a person can act on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lofit_cli.errors import RunError, UserError


def write_file(file: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a temporary file beside `file`, then rename it, so that no half-written file is ever seen."""
    partial = file.with_name(f".{file.name}.partial")
    try:
        write(partial)
        partial.replace(file)
    except OSError as error:
        raise RunError(f"could not write {file}: {error.strerror or error}; free some space or choose another runs_dir")
    finally:
        partial.unlink(missing_ok=True)


def write_json(file: Path, content: Any) -> None:
    """Write JSON that a person can read."""
    write_file(file, lambda path: path.write_text(json.dumps(content, indent=2) + "\n"))


def read_json(file: Path) -> Any:
    """Read a JSON file, refusing one that is cut off or not JSON."""
    try:
        return json.loads(file.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{file} could not be read ({error}); it is missing, cut off or not JSON")
