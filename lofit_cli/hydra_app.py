"""Runs a stage under Hydra, once or as a sweep; the only file that knows both command lines."""

import copy
import importlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from lofit_cli.artifacts.run_dir import make_way, start_run
from lofit_cli.errors import UserError
from lofit_cli.hydra_errors import explain_addition, explained, for_people
from lofit_cli.hydra_outcomes import Outcomes
from lofit_cli.hydra_overrides import group_overrides, keep_texts, parse_overrides, quote
from lofit_cli.schema.by_task import register_by_task
from lofit_cli.schema.groups import SCHEMAS

HYDRA_VERSION_BASE = "1.3"
RUNS_CODE = ("callbacks", "job_logging", "hydra_logging", "launcher", "sweeper", "job.env_set", "job.env_copy")
"""Where Hydra takes names of functions and classes, or changes the process's environment."""
OPEN_KEY = "method.config."
"""Where another library's settings stand, so that `+` may add to them."""


def run_stage(stage: str, overrides: list[str], multirun: bool, config_dir: str | None) -> None:
    """Check every point of a run or sweep, then run it, leaving one run directory a point.

    Raises:
        UserError: an override can't be used (nothing has run then), or a stage failed.
    """
    _register_schemas()
    overrides = _as_typed(stage, overrides, multirun, config_dir)
    search = ["--config-dir", config_dir] if config_dir else []
    arguments = [*overrides, *(["--multirun"] if multirun else []), *search]
    try:
        points = _points(stage, overrides, multirun, config_dir)
        for number, point in enumerate(points):
            config = _compose(stage, point, config_dir)
            _to_dataclass(config)
            make_way(_run_dir(config, number if multirun else None))
        with tempfile.TemporaryDirectory() as folder, _hydra_arguments([stage, *arguments]):
            outcomes = Outcomes(Path(folder) / "outcomes.jsonl")
            hydra.main(str(conf_dir()), stage, HYDRA_VERSION_BASE)(_job(stage, outcomes))()
            outcomes.require_success(len(points))
    except OSError as error:
        raise for_people(error)


def compose_yaml(stage: str, overrides: list[str], config_dir: str | None) -> str:
    """Return the config that a run would use, as YAML."""
    _register_schemas()
    config = _compose(stage, _as_typed(stage, overrides, False, config_dir), config_dir)
    settings = _without_hydra(config)
    with explained(settings):
        if not OmegaConf.missing_keys(settings):
            _to_dataclass(config)
        return OmegaConf.to_yaml(settings, resolve=True)


def conf_dir() -> Path:
    """Return the folder with the YAML files: inside the package from a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def _job(stage: str, outcomes: Outcomes) -> Callable[[DictConfig], None]:
    """Return the function that Hydra calls for each point; a point that fails does not stop a sweep."""
    function = getattr(importlib.import_module(f"lofit_cli.stages.{stage}"), stage)
    from lofit_cli.console import say

    def job(config: DictConfig) -> None:
        _register_schemas()
        run_dir = Path(HydraConfig.get().runtime.output_dir)
        try:
            settings = _to_dataclass(config)
            with start_run(run_dir, stage, settings) as run:
                function(settings, run)
            say(f"run directory: {os.path.relpath(run_dir)}")
            outcomes.add(None)
        except (UserError, OSError, RuntimeError, MemoryError) as error:
            failure = for_people(_without_memory(error, settings))
            outcomes.add(failure)
            if HydraConfig.get().mode == hydra.types.RunMode.MULTIRUN:
                say(f"{os.path.relpath(run_dir)} failed: {failure}")

    return job


def _without_memory(error: Exception, settings: Any) -> Exception:
    """Return the error; what to do, where it says that there is too little memory for the stage's model."""
    if not hasattr(settings, "model"):
        return error
    from lofit_cli.models.memory import is_out_of_memory, out_of_memory_in_a_run

    return out_of_memory_in_a_run(settings.model) if is_out_of_memory(error) else error


def _register_schemas() -> None:
    register_by_task()
    for group, schemas in SCHEMAS.items():
        for name, schema in schemas.items():
            ConfigStore.instance().store(group=group, name=name, node=schema)


def _as_typed(stage: str, overrides: list[str], is_sweep: bool, config_dir: str | None) -> list[str]:
    """Return the overrides with what was typed for keys of text kept as it was."""
    with _composing(config_dir) as search:
        return keep_texts(overrides, _base(stage, search, overrides), is_sweep)


def _points(stage: str, overrides: list[str], multirun: bool, config_dir: str | None) -> list[list[str]]:
    """Return the overrides of each point of a sweep, or the overrides themselves."""
    if not multirun:
        return [overrides]
    with _composing(config_dir) as search, explained(_base(stage, search, [])):
        loader = GlobalHydra.instance().config_loader()
        parse_overrides(overrides)
        parsed = OverridesParser.create(config_loader=loader).parse_overrides([*search, *overrides])
        own = [str(override.input_line) for override in parsed[len(search) :] if _is_hydras(override)]
        swept = [override for override in parsed if not _is_hydras(override)]
        batches = BasicSweeper.split_arguments(swept, max_batch_size=None)
    points = [[*own, *point] for batch in batches for point in batch]
    if not points:
        raise UserError(f"the sweep {' '.join(overrides)} has no point; give each key one value or more")
    return points


def _is_hydras(override: Override) -> bool:
    return str(override.key_or_group).startswith("hydra")


def _run_dir(config: DictConfig, number: int | None) -> Path:
    """Return where a run, or the numbered point of a sweep, will write."""
    if number is None:
        return Path(config.hydra.run.dir)
    with open_dict(config), explained(config):
        config.hydra.job.num = number
        return Path(config.hydra.sweep.dir) / str(config.hydra.sweep.subdir)


@contextmanager
def _composing(config_dir: str | None) -> Iterator[list[str]]:
    """Open Hydra on our YAML files; yield the override that adds a folder of the user's."""
    if config_dir and not Path(config_dir).is_dir():
        raise UserError(f"--config-dir {config_dir} is not a folder")
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(conf_dir()), version_base=HYDRA_VERSION_BASE):
        yield [f"hydra.searchpath=[{quote(f'file://{Path(config_dir).resolve()}')}]"] if config_dir else []


def _compose(stage: str, overrides: list[str], config_dir: str | None) -> DictConfig:
    """Compose a config with Hydra's own node, turning Hydra's errors into one sentence."""
    with _composing(config_dir) as search:
        parsed = parse_overrides(overrides)
        base = _base(stage, search, overrides)
        with explained(base):
            _refuse_new_and_missing_keys(parsed, base)
            config = hydra.compose(stage, [*search, *overrides], return_hydra_config=True)
            own = [str(override.input_line) for override in parsed if _is_hydras(override)]
            if search or any("searchpath" in override for override in own):
                _refuse_code(config, hydra.compose(stage, own, return_hydra_config=True))
            for key in ("run.dir", "sweep.dir"):
                if not OmegaConf.select(config.hydra, key):
                    raise UserError(f"hydra.{key}= is empty; give it a folder, or leave it out for the default")
            return config


def _base(stage: str, search: list[str], overrides: list[str]) -> DictConfig:
    """Return what the chosen options of config groups give, as far as they can be composed: all keys that there are."""
    try:
        return _compose_once(stage, (*search, *group_overrides(overrides)))
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, UnicodeDecodeError, ValueError):
        return _compose_once(stage, ())


@cache
def _compose_once(stage: str, overrides: tuple[str, ...]) -> DictConfig:
    return hydra.compose(stage, list(overrides))


def _refuse_code(config: DictConfig, base: DictConfig) -> None:
    """Refuse what a YAML file says of Hydra beyond where runs go, because it could name a function to be called.

    Args:
        base: the same without the user's YAML files.
    """
    for key in RUNS_CODE:
        if OmegaConf.select(config.hydra, key) != OmegaConf.select(base.hydra, key):
            raise UserError(
                f"a YAML file sets hydra.{key}, which could run code; only hydra.run and hydra.sweep may be set there"
            )


def _refuse_new_and_missing_keys(overrides: list[Override], base: DictConfig) -> None:
    for override in overrides:
        key = str(override.key_or_group)
        if override.is_delete():
            raise UserError(f"{override.input_line}: a key can't be taken away; set it to another value")
        if override.is_add() and not key.startswith(OPEN_KEY):
            raise UserError(explain_addition(key, base, is_group=(conf_dir() / key).is_dir()))


def _to_dataclass(config: DictConfig) -> Any:
    """Return a stage's dataclass, its values checked; all missing keys are named at once."""
    settings = _without_hydra(config)
    with explained(settings):
        if missing := sorted(OmegaConf.missing_keys(settings)):
            raise UserError(f"{', '.join(map(str, missing))} must be set; add {missing[0]}=... to the command")
        return OmegaConf.to_object(settings)


def _without_hydra(config: DictConfig) -> DictConfig:
    settings = copy.deepcopy(config)
    with open_dict(settings):
        settings.pop("hydra", None)
    return settings


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
