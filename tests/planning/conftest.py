"""Settings of the stages that are planned."""

from pathlib import Path

import pytest

from lofit_cli.hydra_config import as_typed, compose, register_schemas, to_dataclass


@pytest.fixture
def settings(model_dir, workplace):
    """Return a function that composes a stage's settings on the tiny model and benchmark."""
    Path("heads.json").write_text("[[0, 1], [2, 3]]")

    def settings(stage, *overrides):
        register_schemas()
        common = ["model=hub", f"model.id={model_dir}", "model.dtype=float32", "task=truthfulqa", "task.data_dir=data"]
        return to_dataclass(compose(stage, as_typed(stage, [*common, *overrides], False, None), None))

    return settings
