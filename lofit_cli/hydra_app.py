"""Runs a stage under Hydra, once or as a sweep; the only file that knows both command lines."""

import copy
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from lofit_cli.artifacts.run_dir import make_way, start_run
from lofit_cli.errors import UserError
from lofit_cli.hydra_errors import explain_addition, explain_unparsable, explained, for_people
from lofit_cli.schema.components import METHOD_CONFIGS, SELECTOR_CONFIGS
from lofit_cli.schema.stages import STAGE_CONFIGS

HYDRA_VERSION_BASE = "1.3"
OPEN_KEY = "method.config."
"""Where another library's settings stand, so that `+` may add to them."""


def run_stage(stage: str, overrides: list[str], multirun: bool, config_dir: str | None) -> None:
    """Check every point of a run or sweep, then run it, leaving one run directory a point.

    Raises:
        UserError: an override can't be used (nothing has run then), or a stage failed.
    """
    _register_schemas()
    arguments = [
        *overrides,
        *(["--multirun"] if multirun else []),
        *(["--config-dir", config_dir] if config_dir else []),
    ]
    failures: list[UserError] = []
    try:
        for number, point in enumerate(_points(overrides, multirun)):
            config = _compose(stage, point, config_dir)
            _to_dataclass(config)
            make_way(_run_dir(config, number if multirun else None))
        with _hydra_arguments([stage, *arguments]):
            hydra.main(str(conf_dir()), stage, HYDRA_VERSION_BASE)(_job(stage, failures))()
    except OSError as error:
        raise for_people(error)
    if failures:
        raise failures[0]


def compose_yaml(stage: str, overrides: list[str], config_dir: str | None) -> str:
    """Return the config that a run would use, as YAML."""
    _register_schemas()
    config = _compose(stage, overrides, config_dir)
    if not OmegaConf.missing_keys(_without_hydra(config)):
        _to_dataclass(config)
    return OmegaConf.to_yaml(_without_hydra(config))


def conf_dir() -> Path:
    """Return the folder with the YAML files: inside the package from a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def _job(stage: str, failures: list[UserError]) -> Callable[[DictConfig], None]:
    """Return the function that Hydra calls for each point; a point that fails does not stop a sweep."""
    function = getattr(importlib.import_module(f"lofit_cli.stages.{stage}"), stage)
    from lofit_cli.console import say

    def job(config: DictConfig) -> None:
        settings = _to_dataclass(config)
        run_dir = Path(HydraConfig.get().runtime.output_dir)
        try:
            with start_run(run_dir, stage, settings) as run:
                function(settings, run)
            say(f"run directory: {os.path.relpath(run_dir)}")
        except (UserError, OSError, RuntimeError, MemoryError) as error:
            failures.append(for_people(_without_memory(error, settings)))
            if HydraConfig.get().mode == hydra.types.RunMode.MULTIRUN:
                say(f"{os.path.relpath(run_dir)} failed: {failures[-1]}")

    return job


def _without_memory(error: Exception, settings: Any) -> Exception:
    """Return the error; what to do, where it says that there is too little memory for the stage's model."""
    if not hasattr(settings, "model"):
        return error
    from lofit_cli.models.memory import is_out_of_memory, out_of_memory_in_a_run

    return out_of_memory_in_a_run(settings.model) if is_out_of_memory(error) else error


def _register_schemas() -> None:
    groups = {"schema": STAGE_CONFIGS, "schema/method": METHOD_CONFIGS, "schema/selector": SELECTOR_CONFIGS}
    for group, schemas in groups.items():
        for name, schema in schemas.items():
            ConfigStore.instance().store(group=group, name=name, node=schema)


def _points(overrides: list[str], multirun: bool) -> list[list[str]]:
    """Return the overrides of each point of a sweep, or the overrides themselves."""
    if not multirun:
        return [overrides]
    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
    except OverrideParseException as error:
        raise UserError(explain_unparsable(error))
    own = [str(override.input_line) for override in parsed if _is_hydras(override)]
    batches = BasicSweeper.split_arguments([o for o in parsed if not _is_hydras(o)], max_batch_size=None)
    return [[*own, *point] for batch in batches for point in batch]


def _is_hydras(override: Override) -> bool:
    return str(override.key_or_group).startswith("hydra")


def _run_dir(config: DictConfig, number: int | None) -> Path:
    """Return where a run, or the numbered point of a sweep, will write."""
    if number is None:
        return Path(config.hydra.run.dir)
    with open_dict(config), explained(config):
        config.hydra.job.num = number
        return Path(config.hydra.sweep.dir) / str(config.hydra.sweep.subdir)


def _compose(stage: str, overrides: list[str], config_dir: str | None) -> DictConfig:
    """Compose a config with Hydra's own node, turning Hydra's errors into one sentence."""
    if config_dir and not Path(config_dir).is_dir():
        raise UserError(f"--config-dir {config_dir} is not a folder")
    search = [_quoted("hydra.searchpath", f"file://{Path(config_dir).resolve()}")] if config_dir else []
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(conf_dir()), version_base=HYDRA_VERSION_BASE):
        base = hydra.compose(stage)
        with explained(base):
            parsed = OverridesParser.create().parse_overrides(overrides)
            groups = [str(o.input_line) for o in parsed if "." not in o.key_or_group and not o.is_add()]
            with suppress(HydraException, OmegaConfBaseException):
                base = hydra.compose(stage, [*search, *groups])
        with explained(base):
            _refuse_new_and_missing_keys(parsed, base)
            config = hydra.compose(stage, [*search, *overrides], return_hydra_config=True)
            for key in ("run.dir", "sweep.dir"):
                if not OmegaConf.select(config.hydra, key):
                    raise UserError(f"hydra.{key}= is empty; give it a folder, or leave it out for the default")
            return config


def _refuse_new_and_missing_keys(overrides: list[Override], base: DictConfig) -> None:
    for override in overrides:
        key = str(override.key_or_group)
        if override.is_delete():
            raise UserError(f"{override.input_line}: a key can't be taken away; set it to another value")
        if override.is_add() and not key.startswith(OPEN_KEY):
            raise UserError(explain_addition(key, base, is_group=(conf_dir() / key).is_dir()))


def _quoted(key: str, path: str) -> str:
    """Return an override that sets a list of one path, whatever characters that has."""
    escaped = path.replace("'", "\\'")
    return f"{key}=['{escaped}']"


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
