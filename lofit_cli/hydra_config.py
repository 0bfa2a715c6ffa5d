"""A stage's config, composed by Hydra and checked: what was typed, as the dataclass that the stage takes."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from lofit_cli.console import say
from lofit_cli.errors import UserError
from lofit_cli.hydra_errors import explain_addition, explained
from lofit_cli.hydra_overrides import group_overrides, keep_texts, parse_overrides, quote
from lofit_cli.plugins import conf_dirs, find_plugins, find_settings, load
from lofit_cli.schema.by_task import register_by_task
from lofit_cli.schema.groups import SCHEMAS

HYDRA_VERSION_BASE = "1.3"
RUNS_CODE = ("callbacks", "job_logging", "hydra_logging", "launcher", "sweeper", "job.env_set", "job.env_copy")
"""Where Hydra takes names of functions and classes, or changes the process's environment."""
PLUGIN_GROUPS = ("task", "method", "selector")
"""The config groups that installed packages may add options to."""
OPEN_KEY = "method.config."
"""Where another library's settings stand, so that `+` may add to them."""


def compose_yaml(stage: str, overrides: list[str], config_dir: str | None) -> str:
    """Return the config that a run would use, as YAML."""
    register_schemas()
    config = compose(stage, as_typed(stage, overrides, False, config_dir), config_dir)
    settings = _without_hydra(config)
    with explained(settings):
        if not OmegaConf.missing_keys(settings):
            to_dataclass(config)
        return OmegaConf.to_yaml(settings, resolve=True)


def conf_dir() -> Path:
    """Return the folder with the YAML files: inside the package from a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def register_schemas() -> None:
    """Make the dataclasses behind conf/ known to Hydra."""
    register_by_task()
    for group, schemas in SCHEMAS.items():
        for name, schema in schemas.items():
            ConfigStore.instance().store(group=group, name=name, node=schema)
    for group in PLUGIN_GROUPS:
        _register_plugins(group)


def _register_plugins(group: str) -> None:
    """Make each plugin's name an option of its config group, with the settings that it has."""
    ours, settings = [file.stem for file in (conf_dir() / group).glob("*.yaml")], find_settings()
    for name in find_plugins(f"{group}s", ours):
        node: Any = {"name": name}
        if point := settings.get(f"{group}.{name}"):
            node = _plugin_settings(point, name) or node
            ConfigStore.instance().store(group=f"schema/{group}", name=name, node=node)
        ConfigStore.instance().store(group=group, name=name, node=node)


def _plugin_settings(point: EntryPoint, name: str) -> Any:
    """Return a plugin's settings; None, said, where they can't be had, because other commands go on without them."""
    try:
        return load(point)(name=name)
    except Exception as error:  # whatever the package does
        say(f"note: the settings of '{point.name}' are left out ({error})")
        return None


def search_path(config_dir: str | None) -> list[str]:
    """Return the override that lets YAML files be found in a folder of the user's and in those of plugins."""
    folders = [*([Path(config_dir).resolve()] if config_dir else []), *conf_dirs()]
    return [f"hydra.searchpath=[{','.join(quote(f'file://{folder}') for folder in folders)}]"] if folders else []


def as_typed(stage: str, overrides: list[str], is_sweep: bool, config_dir: str | None) -> list[str]:
    """Return the overrides with what was typed for keys of text kept as it was."""
    with _composing(config_dir) as search:
        return keep_texts(overrides, _base(stage, search, overrides), is_sweep)


def split_points(stage: str, overrides: list[str], multirun: bool, config_dir: str | None) -> list[list[str]]:
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
    found = [[*own, *point] for batch in batches for point in batch]
    if not found:
        raise UserError(f"the sweep {' '.join(overrides)} has no point; give each key one value or more")
    return found


def _is_hydras(override: Override) -> bool:
    return str(override.key_or_group).startswith("hydra")


def find_run_dir(config: DictConfig, number: int | None) -> Path:
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
        yield search_path(config_dir)


def compose(stage: str, overrides: list[str], config_dir: str | None) -> DictConfig:
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


def to_dataclass(config: DictConfig) -> Any:
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
