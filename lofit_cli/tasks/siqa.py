"""Social IQa (Sap et al. 2019, arXiv 1904.09728): questions with lettered options, as LoFiT asks them."""

from pathlib import Path

from lofit_cli.errors import UserError
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks.arc_challenge import lettered_task
from lofit_cli.tasks.forms.generation import GenerationTask
from lofit_cli.tasks.records import read_records


def load_siqa(config: TaskConfig) -> GenerationTask:
    """Return Social IQa from the files of a folder; its test split may stand alone.

    LoFiT tests on the official validation split, the answers of the test split being hidden.
    """
    if not config.data_dir:
        raise UserError("task.data_dir must be set for task 'siqa': a folder with test.jsonl, and train.jsonl to train")
    names = {"train": "train.jsonl", "validation": "validation.jsonl", "test": "test.jsonl"}
    files = {split: Path(config.data_dir) / name for split, name in names.items()}
    return lettered_task(
        config, {split: read_records(file) for split, file in files.items() if file.exists() or split == "test"}
    )
