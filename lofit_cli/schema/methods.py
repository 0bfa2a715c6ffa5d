"""The settings of each method."""

from lofit_cli.schema.components import MethodConfig
from lofit_cli.schema.fitted_methods import (
    CaaConfig,
    DolaConfig,
    IclConfig,
    ItiConfig,
    ProxyConfig,
    RandomOffsetConfig,
    RepeConfig,
    SadiConfig,
    SeaConfig,
    SinkConfig,
    VectorFileConfig,
)
from lofit_cli.schema.trained_methods import (
    BipoConfig,
    JolaConfig,
    LofitConfig,
    LoreftConfig,
    PeftMethodConfig,
    PrefixConfig,
    PromptConfig,
    RedConfig,
)

METHOD_CONFIGS: dict[str, type[MethodConfig]] = {
    "lofit": LofitConfig,
    "iti": ItiConfig,
    "repe": RepeConfig,
    "caa": CaaConfig,
    "lora": PeftMethodConfig,
    "peft": PeftMethodConfig,
    "red": RedConfig,
    "loreft": LoreftConfig,
    "bipo": BipoConfig,
    "jola": JolaConfig,
    "dola": DolaConfig,
    "proxy": ProxyConfig,
    "sink": SinkConfig,
    "sadi": SadiConfig,
    "prefix": PrefixConfig,
    "prompt": PromptConfig,
    "sea": SeaConfig,
    "file": VectorFileConfig,
    "icl": IclConfig,
    "random_offset": RandomOffsetConfig,
}
"""The settings of methods that have some: an option's YAML takes them in with `/schema/method/NAME`."""
