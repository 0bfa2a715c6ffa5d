"""LoFiT (arXiv 2406.01563) experiments from the command line, and interventions from Python."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

STAGES = ("select_heads", "train_offsets", "evaluate", "compare", "describe", "export")
_HOMES = {
    "ModelConfig": "lofit_cli.schema.sources",
    "load_intervention": "lofit_cli.interventions.files",
    "load_model": "lofit_cli.models.load",
    **dict.fromkeys((*STAGES, "generate", "model_of"), "lofit_cli.api"),
}
"""Name -> the module that has it, imported once it is asked for, because `lofit --help` should not wait for torch."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lofit_cli' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
