"""`tracker=NAME`: an experiment tracker is told what a run logs, through accelerate; off unless asked for."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache, partial
from typing import Any

from lofit_cli.artifacts.leftovers import METRICS
from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.errors import UserError
from lofit_cli.processes import is_leader
from lofit_cli.schema.stages import NO_TRACKER

PROJECT = "lofit"


@contextmanager
def tracked(run: RunDir, config: Any) -> Iterator[None]:
    """Tell a tracker, inside a `with` block, the lines of a run's logs and at its end what it measured.

    Args:
        config: the stage's config dataclass; where it names no tracker nothing is loaded and nothing is told.

    Raises:
        UserError: the tracker's package is not installed.
    """
    name = getattr(config, "tracker", NO_TRACKER)
    if name == NO_TRACKER or not is_leader():
        yield
        return
    _require_package(name)
    # A run that turns out to be finished is told to nobody.
    tracker = cache(partial(_start, name, run, config))
    run.listeners.append(lambda log, line: _tell(tracker(), log.removesuffix(".jsonl"), line))
    try:
        yield
        if (run.path / METRICS).exists():
            found = json.loads((run.path / METRICS).read_text(encoding="utf-8"))
            _tell(tracker(), "metrics", {metric: summary["mean"] for metric, summary in found.items()})
    finally:
        if tracker.cache_info().currsize:
            tracker().finish()


def _require_package(name: str) -> None:
    from accelerate.tracking import get_available_trackers

    if name not in [str(found) for found in get_available_trackers()]:
        raise UserError(f"tracker={name} needs a package that is not installed; pip install {name}, or leave it out")


def _start(name: str, run: RunDir, config: Any) -> Any:
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    PartialState()
    title = f"{run.stage}/{run.path.name}"
    settings: dict[str, dict[str, Any]] = {
        "tensorboard": {"run_name": "tensorboard", "logging_dir": run.path},
        "mlflow": {"experiment_name": PROJECT, "run_name": title},
    }
    tracker = LOGGER_TYPE_TO_CLASS[name](**settings.get(name, {"run_name": PROJECT, "name": title}))
    tracker.start()
    tracker.store_init_configuration(dict(_flat(asdict(config))))
    return tracker


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield settings by their whole names, as a command line has them."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if isinstance(value, int | float | str) else json.dumps(value)


def _tell(tracker: Any, log: str, line: Mapping[str, Any]) -> None:
    """Tell a tracker the numbers of a line, at its step or, where it has none, at its epoch."""
    numbers = {key: value for key, value in line.items() if isinstance(value, int | float) and math.isfinite(value)}
    step = numbers.pop("step", numbers.get("epoch", 0))
    tracker.log({f"{log}/{key}": value for key, value in numbers.items()}, step=int(step))
