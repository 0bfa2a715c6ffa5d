"""Stage 2: train offsets on the kept heads."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lofit_cli.artifacts.files import read_json
from lofit_cli.artifacts.head_mask import FILE_NAME, HeadMask, keep_top, parse_num_heads
from lofit_cli.artifacts.offsets import Offsets
from lofit_cli.artifacts.run_dir import MANIFEST, RunDir, find_latest, read_manifest
from lofit_cli.artifacts.seen_items import add_seen, read_seen
from lofit_cli.errors import UserError
from lofit_cli.methods import get_method
from lofit_cli.models.load import describe_model, load_model
from lofit_cli.models.logprobs import LanguageModel
from lofit_cli.report.plots import plot_heads_per_layer, plot_training
from lofit_cli.report.progress import say
from lofit_cli.schema import TrainOffsetsConfig
from lofit_cli.tasks import load_task


def train_offsets(config: TrainOffsetsConfig, run: RunDir) -> Offsets:
    """Train the configured method on a head mask; write the offsets, the mask they are for and the training curve."""
    method = get_method(config.method.name)
    task = load_task(config.task)
    file = _head_mask_file(config, task.facts())
    lm = load_model(config.model)
    heads = _load_heads(file, config.num_heads, lm)
    count = int(heads.mask.sum())
    run.record(**describe_model(lm), **task.facts(), seed=config.seed, method=config.method.name)
    run.record(selector=heads.selector, num_heads=count, head_mask=str(file), selection_seconds=_seconds(file.parent))
    torch.manual_seed(config.seed)
    heads.save(run.path)
    add_seen(run.path, read_seen(file.parent))
    offsets = Offsets(lm.id, lm.geometry, method(lm, task, config, heads.mask, run), heads.mask)
    offsets.save(run.path)
    plot_heads_per_layer(heads.mask, run.path)
    if run.has_lines("validation.jsonl"):
        plot_training(run.path)
    say(f"trained {run.facts['num_trained_parameters']:,} numbers on {count} heads")
    return offsets


def _head_mask_file(config: TrainOffsetsConfig, task: dict[str, Any]) -> Path:
    """Return the file that `head_mask` names: a run directory's, a file, or the latest run's."""
    if config.head_mask == "latest":
        facts = {"model": config.model.id, **task, "seed": config.seed}
        folder = find_latest(Path(config.runs_dir), "select_heads", facts)
        say(f"head_mask=latest: taking {folder}")
        return folder / FILE_NAME
    path = Path(config.head_mask)
    if path.is_file():
        return path
    read_manifest(path, "select_heads", "head_mask")
    return path / FILE_NAME


def _seconds(folder: Path) -> float:
    """Return how long the selection took, 0 where the head mask is not a run's."""
    manifest = read_json(folder / MANIFEST) if (folder / MANIFEST).exists() else {}
    return float(manifest.get("wall_seconds", 0))


def _load_heads(file: Path, num_heads: str | None, lm: LanguageModel) -> HeadMask:
    """Read a head mask; with `num_heads`, take that many of the best heads instead of those it kept."""
    heads = HeadMask.load(file, lm.id, lm.geometry)
    if heads.model_id != lm.id:
        say(f"note: the head mask comes from model '{heads.model_id}', this run uses '{lm.id}'")
    if num_heads is None:
        return heads
    mask: Tensor = keep_top(heads.scores, parse_num_heads(num_heads, lm.geometry))
    if not heads.scores[mask].isfinite().all():
        raise UserError(f"num_heads={num_heads} is more than head mask {file} ranks; select heads with scores first")
    return HeadMask(heads.model_id, heads.geometry, heads.selector, heads.scores, mask)
