"""What several tests of whole stages begin with."""

from pathlib import Path

import pytest

TRAINING = ("trainer.num_epochs=3", "trainer.batch_size=3", "trainer.learning_rate=1e-2")


@pytest.fixture
def shared_command(lofit, model_dir):
    """The command line of a stage on the tiny model, for several processes."""
    Path("heads.json").write_text("[[0, 1], [2, 3]]")
    common = ("model=hub", f"model.id={model_dir}", "model.dtype=float32", "task=truthfulqa", "task.data_dir=data")

    def named(stage, *settings, run):
        training = TRAINING if stage != "evaluate" else ()
        return [stage, *common, *training, *settings, f"runs_dir={run}", f"hydra.run.dir={run}/x"]

    return named
