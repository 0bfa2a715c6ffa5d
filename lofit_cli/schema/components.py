"""Selectors, each with the settings it has, what all methods have, and the training loop."""

from dataclasses import MISSING as MISSING_FACTORY
from dataclasses import Field, dataclass, field, fields
from typing import Any

from omegaconf import MISSING

from lofit_cli.errors import UserError
from lofit_cli.schema.checks import above_zero, not_empty, one_of, within
from lofit_cli.schema.limits import MAX_DRAWS

LATER = {"later": True}
"""Metadata of settings that came later, whose default is what was done before."""
PLACE = {"place": True}
"""Metadata of settings that name a file or a run: its content counts, which whoever reads it states."""


def shaping(config: Any, *left_out: str) -> dict[str, Any]:
    """Return the settings that shape what a part of a stage makes; later ones only where they say something new."""
    values = {setting: getattr(config, setting.name) for setting in fields(config) if setting.name not in left_out}
    own = {setting: value for setting, value in values.items() if not setting.metadata.get("place")}
    return {s.name: value for s, value in own.items() if not s.metadata.get("later") or value != _default(s)}


def _default(setting: Field[Any]) -> Any:
    return setting.default if setting.default_factory is MISSING_FACTORY else setting.default_factory()


def places(config: Any) -> list[str]:
    """Return the files and runs that a selector's or method's settings name."""
    return [getattr(config, s.name) for s in fields(config) if s.metadata.get("place") and getattr(config, s.name)]


@dataclass
class SelectorConfig:
    """How heads are scored. Beside the selected heads, `draws` random selections of as many heads are made."""

    name: str = MISSING
    draws: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        within("selector.draws", self.draws, 0, MAX_DRAWS)


@dataclass
class FromRunConfig(SelectorConfig):
    """`selector=from_run`: the scores of a finished select-heads run, whatever its task, seed or model."""

    source: str = field(default=MISSING, metadata=PLACE)

    def __post_init__(self) -> None:
        super().__post_init__()
        not_empty(**{"selector.source": self.source})


@dataclass
class FileConfig(SelectorConfig):
    """`selector=file`: a JSON list of `[layer, head]`, best first, or a head mask file."""

    source: str = field(default=MISSING, metadata=PLACE)

    def __post_init__(self) -> None:
        super().__post_init__()
        not_empty(**{"selector.source": self.source})


@dataclass
class ProbeConfig(SelectorConfig):
    """`selector=probe`: a `linear` or `mlp` probe on the mean of the activations at the answer's `last_tokens`."""

    probe: str = field(default="linear", metadata=LATER)
    last_tokens: int = field(default=1, metadata=LATER)

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("selector.probe", self.probe, ("linear", "mlp"))
        within("selector.last_tokens", self.last_tokens, 1)


@dataclass
class MeanDifferenceConfig(SelectorConfig):
    """`selector=mean_difference`: right minus wrong answers, ranked as by the `authors` or by the `norm`."""

    rank: str = "authors"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("selector.rank", self.rank, ("authors", "norm"))


@dataclass
class MethodConfig:
    """How an intervention is made; `bitfit`, `full` and `sink_bias` have no settings of their own."""

    name: str = MISSING

    def refuse_unused(self, because: str, *names: str) -> None:
        """Refuse settings of these names that are not at their defaults, because they would be ignored."""
        for setting in fields(self):
            value = getattr(self, setting.name)
            if setting.name in names and value != _default(setting):
                raise UserError(f"method.{setting.name}={value} is not used with {because}; leave it out")


@dataclass
class TrainerConfig:
    """The training loop. `l1` is lambda in `loss + lambda * sum |parameters|`; `beta` is DPO's.

    Where a task has no wrong answers, the right ones are weighed by how likely the models `poft` find them (embedded
    names, Hub ids, folders). The validation split is looked at every `validate_every` epochs and after the last one. A
    checkpoint is written every `checkpoint_every` steps, none for 0, and when the run is interrupted.
    """

    learning_rate: float = 1e-2
    l1: float = 0.0
    beta: float = 0.5
    init_std: float = 1e-3
    num_epochs: int = 5
    batch_size: int = 8
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    keep: str = "last"
    validate_every: int = 1
    checkpoint_every: int = 100
    poft: list[str] = field(default_factory=list, metadata=LATER)

    def shaping(self) -> dict[str, Any]:
        """Return the settings that shape what is learnt."""
        return shaping(self, "checkpoint_every")

    def __post_init__(self) -> None:
        one_of("trainer.keep", self.keep, ("last", "best"))
        for key in ("num_epochs", "batch_size", "validate_every"):
            within(f"trainer.{key}", getattr(self, key), 1)
        for key in ("l1", "init_std", "weight_decay", "checkpoint_every"):
            within(f"trainer.{key}", getattr(self, key), 0)
        for key in ("learning_rate", "beta", "max_grad_norm"):
            above_zero(f"trainer.{key}", getattr(self, key))


SELECTOR_CONFIGS: dict[str, type[SelectorConfig]] = {
    "from_run": FromRunConfig,
    "file": FileConfig,
    "probe": ProbeConfig,
    "mean_difference": MeanDifferenceConfig,
}
"""The settings of selectors that have some: an option's YAML takes them in with `/schema/selector/NAME`."""
