"""Heads that another run has ranked already."""

from pathlib import Path
from typing import Any, cast

from torch import Tensor

from lofit_cli.artifacts.finished_runs import read_manifest
from lofit_cli.artifacts.head_mask import FILE_NAME, HeadMask
from lofit_cli.artifacts.manifest import SelectHeadsManifest
from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.artifacts.seen_items import inherit_seen
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.components import FromRunConfig
from lofit_cli.schema.stages import SelectHeadsConfig
from lofit_cli.tasks.task import Task


def copy_from_run(lm: LanguageModel, task: Task[Any], config: SelectHeadsConfig, run: RunDir) -> Tensor:
    """Return the scores of the run that `selector.source` names: another task's, seed's or model's."""
    source = Path(cast(FromRunConfig, config.selector).source)
    manifest = read_manifest(source, SelectHeadsManifest, "selector.source")
    run.record(selection_seed=manifest.seed)
    run.record_settings(source={**manifest.made_by, "model": f"{Path(manifest.model).name} {manifest.model_hash[:8]}"})
    inherit_seen(run, source, manifest)
    return HeadMask.load(source / FILE_NAME, lm.id, lm.geometry).scores
