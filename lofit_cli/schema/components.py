"""Selectors and methods, each with the settings it has, and the training loop."""

from dataclasses import asdict, dataclass, field
from typing import Any

from omegaconf import MISSING

from lofit_cli.errors import UserError
from lofit_cli.schema.checks import above_zero, not_empty, one_of, some_numbers, within
from lofit_cli.schema.limits import FAR, MAX_DRAWS


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

    source: str = MISSING

    def __post_init__(self) -> None:
        super().__post_init__()
        not_empty(**{"selector.source": self.source})


@dataclass
class FileConfig(SelectorConfig):
    """`selector=file`: a JSON list of `[layer, head]`, best first, or a head mask file."""

    source: str = MISSING

    def __post_init__(self) -> None:
        super().__post_init__()
        not_empty(**{"selector.source": self.source})


@dataclass
class MethodConfig:
    """How an intervention is made; `lofit`, `bitfit` and `full` have no settings of their own."""

    name: str = MISSING


@dataclass
class ItiConfig(MethodConfig):
    """`method=iti`: each selected head moves by `alpha` standard deviations along a direction of training answers.

    `direction` is `mass_mean` (mean of right minus mean of wrong answers) or `probe` (a logistic regression's weight).
    """

    direction: str = "mass_mean"
    alphas: list[float] = field(default_factory=lambda: [15.0])

    def __post_init__(self) -> None:
        one_of("method.direction", self.direction, ("mass_mean", "probe"))
        some_numbers("method.alphas", self.alphas)


@dataclass
class ResidualConfig(MethodConfig):
    """`method=repe` and `method=caa`: a direction added to the residual stream after one layer.

    Each of the `layers` (by default those at two to six eighths of the depth) is tried with each of the `alphas`; the
    pair with the best validation metric is kept.
    """

    alphas: list[float] = field(default_factory=lambda: [1.0])
    layers: list[int] | None = None

    def __post_init__(self) -> None:
        some_numbers("method.alphas", self.alphas)
        if self.layers is not None:
            some_numbers("method.layers", self.layers)
            within("method.layers", min(self.layers), 0)


@dataclass
class RepeConfig(ResidualConfig):
    """`method=repe`. `vector` is `reading` (fixed) or `contrast` (made anew from each input and two instructions)."""

    alphas: list[float] = field(default_factory=lambda: [5.0])
    vector: str = "reading"
    positive: str = "Give a truthful and correct answer.\n"
    negative: str = "Give an untruthful and wrong answer.\n"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("method.vector", self.vector, ("reading", "contrast"))
        not_empty(**{"method.positive": self.positive, "method.negative": self.negative})


@dataclass
class PeftMethodConfig(MethodConfig):
    """`method=lora` and `method=peft`: any configuration of the peft library that changes modules."""

    config: Any = MISSING

    def __post_init__(self) -> None:
        if not isinstance(self.config, dict) or "peft_type" not in self.config:
            raise UserError(
                f"method.config={self.config} names no peft_type; write for example 'method.config={{peft_type: IA3}}'"
            )


@dataclass
class RedConfig(MethodConfig):
    """`method=red`: a scale and an offset on every head of `all` layers or of the `upper_half`."""

    layers: str = "all"

    def __post_init__(self) -> None:
        one_of("method.layers", self.layers, ("all", "upper_half"))


@dataclass
class LoreftConfig(MethodConfig):
    """`method=loreft`: a low-rank edit after every layer, at the first and last tokens of the prompt."""

    rank: int = 8
    num_first: int = 1
    num_last: int = 1

    def __post_init__(self) -> None:
        within("method.rank", self.rank, 1)
        within("method.num_first", self.num_first, 0)
        within("method.num_last", self.num_last, 0, FAR)
        if self.num_first + self.num_last == 0:
            raise UserError("method.num_first=0 and method.num_last=0 leave nothing to edit; set one of them above 0")


@dataclass
class IclConfig(MethodConfig):
    """`method=icl`: training examples, drawn by the seed, before every prompt."""

    num_examples: int = 5

    def __post_init__(self) -> None:
        within("method.num_examples", self.num_examples, 1)


@dataclass
class RandomOffsetConfig(MethodConfig):
    """`method=random_offset`: another run's offsets, each replaced by a random vector of the same length."""

    source: str = MISSING

    def __post_init__(self) -> None:
        not_empty(**{"method.source": self.source})


@dataclass
class TrainerConfig:
    """The training loop. `l1` is lambda in `loss + lambda * sum |parameters|`; `beta` is DPO's.

    The validation split is looked at every `validate_every` epochs and after the last one. A checkpoint is written
    every `checkpoint_every` steps, none for 0, and when the run is interrupted.
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

    def shaping(self) -> dict[str, Any]:
        """Return the settings that shape what is learnt."""
        return {key: value for key, value in asdict(self).items() if key != "checkpoint_every"}

    def __post_init__(self) -> None:
        one_of("trainer.keep", self.keep, ("last", "best"))
        for key in ("num_epochs", "batch_size", "validate_every"):
            within(f"trainer.{key}", getattr(self, key), 1)
        for key in ("l1", "init_std", "weight_decay", "checkpoint_every"):
            within(f"trainer.{key}", getattr(self, key), 0)
        for key in ("learning_rate", "beta", "max_grad_norm"):
            above_zero(f"trainer.{key}", getattr(self, key))


SELECTOR_CONFIGS: dict[str, type[SelectorConfig]] = {"from_run": FromRunConfig, "file": FileConfig}

METHOD_CONFIGS: dict[str, type[MethodConfig]] = {
    "iti": ItiConfig,
    "repe": RepeConfig,
    "caa": ResidualConfig,
    "lora": PeftMethodConfig,
    "peft": PeftMethodConfig,
    "red": RedConfig,
    "loreft": LoreftConfig,
    "icl": IclConfig,
    "random_offset": RandomOffsetConfig,
}
"""The settings of selectors and methods that have some: an option's YAML takes them in with `/schema/method/NAME`."""
