"""Where Hydra finds the dataclasses: config group -> option -> its class."""

from typing import Any

from lofit_cli.schema.components import METHOD_CONFIGS, SELECTOR_CONFIGS
from lofit_cli.schema.rows import TASK_CONFIGS
from lofit_cli.schema.stages import STAGE_CONFIGS

SCHEMAS: dict[str, dict[str, type[Any]]] = {
    "schema": STAGE_CONFIGS,
    "schema/task": dict(TASK_CONFIGS),
    "schema/method": dict(METHOD_CONFIGS),
    "schema/selector": dict(SELECTOR_CONFIGS),
}
