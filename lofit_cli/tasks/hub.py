"""`task=hub`: rows of a dataset on the Hugging Face Hub, or of a local folder that the `datasets` library reads."""

from typing import Any

from lofit_cli.errors import UserError
from lofit_cli.schema.rows import RowsConfig
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks.records import load_hub_splits
from lofit_cli.tasks.rows import make_task
from lofit_cli.tasks.task import Task


def load_hub(config: TaskConfig) -> Task[Any]:
    """Return the rows of `task.hub_id`, of its configuration `task.subset` where it has several."""
    if not isinstance(config, RowsConfig):
        raise UserError("task.name=hub has settings of its own; write task=hub instead")
    if not config.hub_id:
        raise UserError("task.hub_id must be set for task 'hub', as in task.hub_id=OWNER/NAME")
    return make_task(config, load_hub_splits(config.hub_id, config.subset))
