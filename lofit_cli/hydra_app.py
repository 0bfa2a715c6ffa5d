"""Runs a stage under Hydra, once or as a sweep; the only file that knows both command lines."""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from lofit_cli.artifacts.leftovers import config_hash, make_way
from lofit_cli.artifacts.listing import finished_settings
from lofit_cli.artifacts.reuse import take
from lofit_cli.artifacts.run_dir import FinishedRun, start_run
from lofit_cli.console import say
from lofit_cli.errors import UserError
from lofit_cli.hydra_config import (
    HYDRA_VERSION_BASE,
    as_typed,
    compose,
    conf_dir,
    find_run_dir,
    register_schemas,
    search_path,
    split_points,
    to_dataclass,
)
from lofit_cli.hydra_errors import for_people
from lofit_cli.hydra_outcomes import Outcomes, outcomes_in
from lofit_cli.hydra_processes import own_place, require_own_launcher
from lofit_cli.hydra_resume import require_same_settings, resumed
from lofit_cli.planning.plan import Point, mark_done
from lofit_cli.processes import is_leader, joined, meeting_place, num_processes
from lofit_cli.sharing import all_do, require_same
from lofit_cli.trackers import tracked


def run_stage(stage: str, overrides: list[str], multirun: bool = False, config_dir: str | None = None) -> list[Path]:
    """Check every point of a run or sweep, then run it; return the points' run directories as they ended.

    Raises:
        UserError: an override can't be used (nothing has run then), or a stage failed.
    """
    register_schemas()
    if num_processes() > 1:
        say(f"waiting for all {num_processes()} processes of this run to meet at {meeting_place()}")
    with joined(), own_place() as place:
        # Where there are several processes, this also lets all of them look before the leader changes anything.
        require_same("their settings", lambda: [stage, *overrides])
        try:
            typed, configs = all_do(lambda: _compose_points(stage, overrides, place, multirun, config_dir))
            arguments = [*search_path(config_dir), *typed, *(["--multirun"] if multirun else [])]
            return _run_points(stage, configs, arguments, multirun)
        except OSError as error:
            raise for_people(error)


def _compose_points(
    stage: str, overrides: list[str], place: list[str], multirun: bool, config_dir: str | None
) -> tuple[list[str], list[DictConfig]]:
    """Return the overrides as Hydra is to get them, and each point's config."""
    typed = [*as_typed(stage, resumed(stage, overrides, multirun), multirun, config_dir), *place]
    configs = [compose(stage, point, config_dir) for point in split_points(stage, typed, multirun, config_dir)]
    require_same_settings(overrides, config_hash(to_dataclass(configs[0])))
    require_own_launcher(configs)
    return typed, configs


def _run_points(stage: str, configs: list[DictConfig], arguments: list[str], multirun: bool) -> list[Path]:
    require_same("the settings they make of them", lambda: [config_hash(to_dataclass(config)) for config in configs])
    for number, config in enumerate(configs):
        make_way(find_run_dir(config, number if multirun else None), stage, to_dataclass(config))
    place = Path(configs[0].hydra.sweep.dir) if multirun else None
    with _hydra_arguments([stage, *arguments]), outcomes_in(place) as outcomes:
        hydra.main(str(conf_dir()), stage, HYDRA_VERSION_BASE)(_job(stage, outcomes))()
        return outcomes.require_success(len(configs))


def run_at_once(stage: str, overrides: list[str]) -> None:
    """Run a stage that leaves no run directory.

    Raises:
        UserError: an override can't be used, or the stage failed.
    """
    register_schemas()
    settings = to_dataclass(compose(stage, as_typed(stage, overrides, False, None), None))
    try:
        _stage_function(stage)(settings)
    except (OSError, RuntimeError, MemoryError) as error:
        raise for_people(error)


def plan_stage(stage: str, overrides: list[str], multirun: bool = False, config_dir: str | None = None) -> None:
    """Say what a run, or each point of a sweep, would take.

    Raises:
        UserError: an override can't be used, or a point can't be run as it is set.
    """
    from lofit_cli.stages.plan import show_plans

    register_schemas()
    overrides = as_typed(stage, resumed(stage, overrides, multirun), multirun, config_dir)
    found = split_points(stage, overrides, multirun, config_dir)
    points = [Point(tuple(point), to_dataclass(compose(stage, point, config_dir))) for point in found]
    done = finished_settings(Path(points[0].settings.runs_dir), stage)
    points = mark_done(points, lambda settings: not settings.force and config_hash(settings) in done)
    try:
        show_plans(stage, points, _stage_function(stage, "plan_"))
    except (OSError, RuntimeError, MemoryError) as error:
        raise for_people(error)


def _job(stage: str, outcomes: Outcomes) -> Callable[[DictConfig], None]:
    """Return the function that Hydra calls for each point.

    A point that fails does not stop a sweep, but in several processes: only one of them may know of it.
    """
    failed: list[int] = []
    function = _stage_function(stage)

    def job(config: DictConfig) -> None:
        if failed and num_processes() > 1:
            return
        register_schemas()
        about = HydraConfig.get()
        is_sweep = about.mode == hydra.types.RunMode.MULTIRUN
        run_dir, number = Path(about.runtime.output_dir), about.job.num if is_sweep else 0
        try:
            settings = to_dataclass(config)
            outcomes.add(number, _run_or_take(stage, function, run_dir, settings))
        except (UserError, OSError, RuntimeError, MemoryError) as error:
            failure = for_people(_without_memory(error, settings))
            outcomes.add(number, run_dir, failure)
            failed.append(number)
            if is_sweep:
                say(f"{os.path.relpath(run_dir)} failed: {failure}")

    return job


def _run_or_take(stage: str, function: Callable[..., Any], run_dir: Path, settings: Any) -> Path:
    """Run a stage, or take the finished run that is made of the same; return its directory."""
    try:
        with start_run(run_dir, stage, settings) as run, tracked(run, settings):
            function(settings, run)
    except FinishedRun as found:
        return take(found.path, run_dir, _is_named()) if is_leader() else found.path
    say(f"run directory: {os.path.relpath(run_dir)}")
    return run_dir


def _is_named() -> bool:
    """Return whether the user has said where the run is to go."""
    own = ("hydra.run.dir=", "hydra.sweep.dir=", "hydra.sweep.subdir=")
    return any(override.startswith(own) for override in HydraConfig.get().overrides.hydra)


def _stage_function(stage: str, prefix: str = "") -> Callable[..., Any]:
    module = importlib.import_module(f"lofit_cli.stages.{stage}")
    function: Callable[..., Any] = getattr(module, prefix + stage)
    return function


def _without_memory(error: Exception, settings: Any) -> Exception:
    """Return the error; what to do, where it says that there is too little memory for the stage's model."""
    if not hasattr(settings, "model"):
        return error
    from lofit_cli.models.memory import is_out_of_memory, out_of_memory_in_a_run

    return out_of_memory_in_a_run(settings.model) if is_out_of_memory(error) else error


@contextmanager
def _hydra_arguments(arguments: list[str]) -> Iterator[None]:
    """Give Hydra its command line, and keep its errors as exceptions rather than text and an exit."""
    argv, full_error = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = arguments, "1"
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        sys.argv = argv
        if full_error is None:
            del os.environ["HYDRA_FULL_ERROR"]
