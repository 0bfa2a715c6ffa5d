"""Heads that another run has ranked already."""

from pathlib import Path
from typing import Any, cast

from torch import Tensor

from lofit_cli.artifacts.head_mask import FILE_NAME, HeadMask
from lofit_cli.artifacts.run_dir import RunDir, read_manifest
from lofit_cli.artifacts.seen_items import add_seen, read_seen
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.components import FromRunConfig
from lofit_cli.schema.stages import SelectHeadsConfig
from lofit_cli.tasks.task import Task


def copy_from_run(lm: LanguageModel, task: Task[Any], config: SelectHeadsConfig, run: RunDir) -> Tensor:
    """Return the scores of the run that `selector.source` names: another task's, seed's or model's."""
    source = Path(cast(FromRunConfig, config.selector).source)
    manifest = read_manifest(source, "select_heads", "selector.source")
    run.record(selection_seed=manifest.get("seed"))
    run.record_settings(source={**manifest.get("made_by", {}), "model": manifest.get("model")})
    add_seen(run.path, read_seen(source))
    return HeadMask.load(source / FILE_NAME, lm.id, lm.geometry).scores
