"""TruthfulQA (Lin et al. 2022), answered in the model's own words."""

from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks.forms.truthfulqa_generation import TruthfulQAGenerationTask
from lofit_cli.tasks.truthfulqa import load_folds


def load_truthfulqa_generation(config: TaskConfig) -> TruthfulQAGenerationTask:
    """Return a fold of TruthfulQA whose questions the model answers in its own words."""
    return TruthfulQAGenerationTask(config, load_folds(config))
