"""Stages from Python, with the settings of the command line, and what a model says under an intervention."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from lofit_cli.artifacts.finished_runs import read_manifest
from lofit_cli.artifacts.manifest import TrainOffsetsManifest
from lofit_cli.hydra_app import run_stage
from lofit_cli.interventions.files import settings_of_model
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.sources import ModelConfig


def select_heads(*settings: str) -> Path:
    """Score every attention head and select the best: `select_heads("task=kinship", "num_heads=8")`.

    Args:
        settings: of the form KEY=VALUE, as on the command line.

    Returns:
        The run directory.

    Raises:
        UserError: a setting can't be used, or the stage failed.
    """
    return _run("select_heads", settings)


def train_offsets(*settings: str) -> Path:
    """Train an offset vector on each selected head, or make what another `method=` makes; as `select_heads`."""
    return _run("train_offsets", settings)


def evaluate(*settings: str) -> Path:
    """Score a split with an intervention, or with none; as `select_heads`."""
    return _run("evaluate", settings)


def compare(*settings: str) -> Path:
    """Set evaluated runs side by side, and write the report; as `select_heads`."""
    return _run("compare", settings)


def describe(*settings: str) -> Path:
    """Say what an intervention changes on text that has nothing to do with its task; as `select_heads`."""
    return _run("describe", settings)


def export(*settings: str) -> Path:
    """Write an intervention as weights, an adapter or vectors, and prove that it is the same; as `select_heads`."""
    return _run("export", settings)


def model_of(run_dir: Path | str) -> ModelConfig:
    """Return the settings of the model that a train-offsets run was made with, to load it again."""
    manifest = read_manifest(Path(run_dir), TrainOffsetsManifest, "run_dir")
    return settings_of_model(run_dir, manifest, None)


def generate(
    lm: LanguageModel, prompts: str | Sequence[str], edit: Intervention | None = None, max_new_tokens: int = 64
) -> list[str]:
    """Return what a model says after each prompt, greedily, under an intervention or without one."""
    with edit.attach(lm) if edit else nullcontext():
        return lm.generate(prompts, max_new_tokens)


def _run(stage: str, settings: Sequence[str]) -> Path:
    (run_dir,) = run_stage(stage, list(settings))
    return run_dir
