"""Heads that somebody else has ranked: a list of them, or a head mask file."""

from pathlib import Path
from typing import Any, cast

from torch import Tensor

from lofit_cli.artifacts.files import content_hash
from lofit_cli.artifacts.finished_runs import read_selection
from lofit_cli.artifacts.head_mask import HeadMask
from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.artifacts.seen_items import inherit_seen
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.components import FileConfig
from lofit_cli.schema.stages import SelectHeadsConfig
from lofit_cli.tasks.task import Task


def copy_from_file(lm: LanguageModel, task: Task[Any], config: SelectHeadsConfig, run: RunDir) -> Tensor:
    """Return the scores of a head mask file; heads that a JSON list leaves out score minus infinity."""
    source = Path(cast(FileConfig, config.selector).source)
    heads = HeadMask.load(source, lm.id, lm.geometry)
    run.record_settings(source={"heads": content_hash(heads.ranked_heads())[:12]})
    inherit_seen(run, source, read_selection(source))
    return heads.scores
