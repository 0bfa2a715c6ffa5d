"""Composing many configs in one test, three times faster than `compose_yaml`, which also explains what is wrong."""

from contextlib import contextmanager

import hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from lofit_cli.hydra_config import compose_yaml, conf_dir


@contextmanager
def composer(config_dir=None):
    """Give a function `(stage, overrides) -> settings`, a checked config as plain data, for use inside the block."""
    search = [f"hydra.searchpath=['file://{config_dir}']"] if config_dir else []

    def compose(stage, overrides):
        config = hydra.compose(stage, [*search, *overrides])
        OmegaConf.to_object(config)
        return OmegaConf.to_container(config, resolve=True)

    # Composing anything registers the schemas.
    compose_yaml("compare", [], None)
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield compose
