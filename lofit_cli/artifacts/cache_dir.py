"""Where this machine keeps what can be had again."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """Return where downloaded models and what was computed are kept: LOFIT_CACHE, or a folder in the user's cache."""
    return Path(
        os.environ.get("LOFIT_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "lofit"
    ).expanduser()
