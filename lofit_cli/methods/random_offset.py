"""The control for any offsets: random directions of the same lengths at the same heads."""

from pathlib import Path
from typing import Any, cast

from torch import Tensor

from lofit_cli.artifacts.finished_runs import read_manifest
from lofit_cli.artifacts.manifest import TrainOffsetsManifest
from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.artifacts.seen_items import inherit_seen
from lofit_cli.errors import UserError
from lofit_cli.interventions.files import load_intervention
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.interventions.random_directions import draw_null
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.fitted_methods import RandomOffsetConfig
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.tasks.task import Task


def make_random_offset(
    lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, head_mask: Tensor, run: RunDir
) -> HeadEdit:
    """Replace each offset of the run that `method.source` names by a random one of the same L2 norm.

    Raises:
        UserError: that run has no offsets alone, or was trained on another model.
    """
    source = Path(cast(RandomOffsetConfig, config.method).source)
    manifest = read_manifest(source, TrainOffsetsManifest, "method.source")
    learnt = load_intervention(source, lm, "method.source")[0]
    if not isinstance(learnt, HeadEdit) or learnt.offset is None or learnt.scale is not None:
        raise UserError(
            f"method.source={source} is a run of {manifest.method}, which has no offsets alone; name another"
        )
    run.record(selector=manifest.selector, num_heads=manifest.num_heads, selection_seed=manifest.selection_seed)
    run.record(source_seed=manifest.seed)
    run.record_settings(source=manifest.made_by)
    inherit_seen(run, source, manifest)
    return cast(HeadEdit, draw_null(learnt, config.seed))
