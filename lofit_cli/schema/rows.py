"""Tasks made of the user's own rows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lofit_cli.errors import UserError
from lofit_cli.schema.checks import line_ends, not_empty, one_of
from lofit_cli.schema.sources import SPLITS, TaskConfig
from lofit_cli.schema.tasks import BbqConfig, PerplexityConfig, SharedOutConfig

FORMS = ("answers", "choices", "preference", "generation")
OBJECTIVES = ("sft", "dpo")


@dataclass
class RowsConfig(SharedOutConfig):
    """`task=file` and `task=hub`: questions of your own.

    `files` names a file for each split, in `data_dir` where that is set; `subset` is a dataset's. `form` says what a
    row is; without it the columns tell. `columns` gives a form's fields the names that your columns have. `prompt` is
    what the model is shown, with a row's fields in braces. `list_separator` splits a text where a list is due.
    `shares` of the items go to the splits that have no file. `objective` is what training minimises, for `choices`.
    """

    close_answers: bool = False
    append_eos: bool = True
    files: Any = None
    subset: str | None = None
    form: str | None = None
    columns: Any = None
    objective: str | None = None
    prompt: str | None = None
    list_separator: str | None = None

    @property
    def title(self) -> str:
        """Return the name of the dataset, or of the file or folder, so that two of them have tables of their own."""
        named = self.hub_id if self.name == "hub" else Path(self.data_dir or next(iter(self.files.values()), "")).name
        return ", ".join(filter(None, (named or self.name, self.subset)))

    def __post_init__(self) -> None:
        super().__post_init__()
        self.files, self.columns = _named("task.files", self.files), _named("task.columns", self.columns)
        not_empty(**{"task.prompt": self.prompt, "task.subset": self.subset})
        self.prompt = line_ends(self.prompt) if self.prompt else None
        if self.form is not None:
            one_of("task.form", self.form, FORMS)
        if self.objective is not None:
            one_of("task.objective", self.objective, OBJECTIVES)
        for split in self.files:
            one_of("task.files", split, SPLITS)
        if self.list_separator == "":
            raise UserError("task.list_separator= is empty; give the text that stands between two answers, such as ';'")


def _named(key: str, value: Any) -> dict[str, str]:
    """Return a key's names and what they stand for; Hydra itself takes no new names for a dictionary of texts."""
    if not isinstance(value, dict | None) or not all(isinstance(text, str | int) for text in (value or {}).values()):
        raise UserError(f"{key}={value} is not allowed; write names and texts, as in '{key}={{NAME: TEXT}}'")
    return {str(name): str(text) for name, text in (value or {}).items()}


TASK_CONFIGS: dict[str, type[TaskConfig]] = {
    "bbq": BbqConfig,
    "crows_pairs": SharedOutConfig,
    "file": RowsConfig,
    "hub": RowsConfig,
    "perplexity": PerplexityConfig,
    "stereoset": SharedOutConfig,
}
"""The settings of tasks that have some of their own."""
