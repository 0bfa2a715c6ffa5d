"""A plain text file: how likely a model finds text that nobody trained an edit for."""

from pathlib import Path

from lofit_cli.errors import UserError
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.schema.tasks import PerplexityConfig, settings_of
from lofit_cli.tasks.forms.pieces import Piece, PiecesTask
from lofit_cli.tasks.records import read_text

FILE = "text.txt"
"""What the file is called in the folder of a sample."""


def load_perplexity(config: TaskConfig) -> PiecesTask:
    """Return the text of the file `task.data_dir`, whole; a tokenizer cuts it into pieces."""
    settings = settings_of(config, PerplexityConfig)
    if not config.data_dir:
        raise UserError("task.data_dir must be set for task 'perplexity': a plain text file in UTF-8, or 'sample'")
    place = Path(config.data_dir)
    if not place.exists():
        raise UserError(f"task.data_dir={config.data_dir} is not there; name a plain text file in UTF-8, or 'sample'")
    text = read_text(place / FILE if place.is_dir() else place, "plain text").strip()
    if not text:
        raise UserError(f"task.data_dir={config.data_dir} is an empty file; name one with some text")
    return PiecesTask(settings, {"test": [Piece("text", "all", text)]})
