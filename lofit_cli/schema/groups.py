"""Where Hydra finds the dataclasses: config group -> option -> its class."""

from collections.abc import Mapping
from typing import Any

from lofit_cli.schema.components import SELECTOR_CONFIGS
from lofit_cli.schema.methods import METHOD_CONFIGS
from lofit_cli.schema.rows import TASK_CONFIGS
from lofit_cli.schema.stages import STAGE_CONFIGS

SCHEMAS: dict[str, Mapping[str, type[Any]]] = {
    "schema": STAGE_CONFIGS,
    "schema/task": TASK_CONFIGS,
    "schema/method": METHOD_CONFIGS,
    "schema/selector": SELECTOR_CONFIGS,
}
