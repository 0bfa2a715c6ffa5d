"""The dataclasses behind conf/: every key a user can set, its type and what it may hold.

`__post_init__` runs when a composed config becomes its dataclass, so a wrong value is refused before any work starts.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from lofit_cli.errors import UserError, did_you_mean

MAX_SEED = 2**32 - 1
MAX_RESAMPLES = 1_000_000
FAR = 8
"""How many tokens from the end of its prompt a token is told apart; further ones are all alike."""
MAX_HOPS = 10


def _one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UserError(f"{key}={value} is not known; {did_you_mean(value, allowed)}")


def _within(key: str, value: float, least: float, most: float = sys.float_info.max) -> None:
    if not least <= value <= most:
        limit = f"{least} or more" if most == sys.float_info.max else f"{least} to {most}"
        raise UserError(f"{key}={value} is not allowed; it must be {limit}")


def _above_zero(key: str, value: float) -> None:
    if not 0 < value <= sys.float_info.max:
        raise UserError(f"{key}={value} is not allowed; it must be a number above 0")


def _some_numbers(key: str, values: Sequence[float]) -> None:
    if not values or not all(math.isfinite(value) for value in values):
        raise UserError(f"{key}={values} is not allowed; give one finite number or more, as in '{key}=[1,5]'")


def _not_empty(**values: str | None) -> None:
    for key, value in values.items():
        if value is not None and not value.strip():
            raise UserError(f"{key}= is empty; give it a value, or leave it out for the default")


@dataclass
class ModelConfig:
    """A decoder: `smollm2`, a Hub id, or a folder with a config and safetensors."""

    id: str = MISSING
    revision: str | None = None
    dtype: str = "float32"
    device: str = "auto"
    max_row_tokens: int | None = None

    def __post_init__(self) -> None:
        _one_of("model.dtype", self.dtype, ("float32", "bfloat16", "float16"))
        if self.max_row_tokens is not None:
            _within("model.max_row_tokens", self.max_row_tokens, 1)


@dataclass
class TaskConfig:
    """A benchmark: where its questions come from and how they are shown in training.

    `data_dir` is a folder, or `sample` for the task's bundled sample; `num_hops` and `story_seed` are kinship's.
    """

    name: str = MISSING
    fold: int = 0
    data_dir: str | None = None
    hub_id: str | None = None
    train_prompt: str = "Q: {question}\nA:"
    answer_prefix: str = " "
    close_answers: bool = True
    append_eos: bool = False
    train_answers: str = "first"
    num_train: int | None = None
    max_new_tokens: int = 32
    num_hops: int = 2
    story_seed: int = 42

    def __post_init__(self) -> None:
        _one_of("task.train_answers", self.train_answers, ("first", "all"))
        _within("task.num_train", 1 if self.num_train is None else self.num_train, 1)
        _within("task.max_new_tokens", self.max_new_tokens, 1)
        _within("task.num_hops", self.num_hops, 2, MAX_HOPS)
        if "{question}" not in self.train_prompt:
            raise UserError(f"task.train_prompt={self.train_prompt!r} has no place for {{question}}; add it")


@dataclass
class SelectorConfig:
    """How heads are scored."""

    name: str = MISSING


@dataclass
class FromRunConfig(SelectorConfig):
    """`selector=from_run`: the scores of a finished select-heads run, whatever its task, seed or model."""

    source: str = MISSING

    def __post_init__(self) -> None:
        _not_empty(**{"selector.source": self.source})


@dataclass
class FileConfig(SelectorConfig):
    """`selector=file`: a JSON list of `[layer, head]`, best first, or a head mask file."""

    source: str = MISSING

    def __post_init__(self) -> None:
        _not_empty(**{"selector.source": self.source})


@dataclass
class MethodConfig:
    """How an intervention is made; `lofit`, `bitfit` and `full` have no settings of their own."""

    name: str = MISSING


@dataclass
class ItiConfig(MethodConfig):
    """`method=iti`: each kept head moves by `alpha` standard deviations along a direction found on training answers.

    `direction` is `mass_mean` (mean of right minus mean of wrong answers) or `probe` (a logistic regression's weight).
    """

    direction: str = "mass_mean"
    alphas: list[float] = field(default_factory=lambda: [15.0])

    def __post_init__(self) -> None:
        _one_of("method.direction", self.direction, ("mass_mean", "probe"))
        _some_numbers("method.alphas", self.alphas)


@dataclass
class ResidualConfig(MethodConfig):
    """`method=repe` and `method=caa`: a direction added to the residual stream after one layer.

    Each of the `layers` (by default those at two to six eighths of the depth) is tried with each of the `alphas`; the
    pair with the best validation metric is kept.
    """

    alphas: list[float] = field(default_factory=lambda: [1.0])
    layers: list[int] | None = None

    def __post_init__(self) -> None:
        _some_numbers("method.alphas", self.alphas)
        if self.layers is not None:
            _some_numbers("method.layers", self.layers)
            _within("method.layers", min(self.layers), 0)


@dataclass
class RepeConfig(ResidualConfig):
    """`method=repe`. `vector` is `reading` (fixed) or `contrast` (made anew from each input and two instructions)."""

    alphas: list[float] = field(default_factory=lambda: [5.0])
    vector: str = "reading"
    positive: str = "Give a truthful and correct answer.\n"
    negative: str = "Give an untruthful and wrong answer.\n"

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of("method.vector", self.vector, ("reading", "contrast"))
        _not_empty(**{"method.positive": self.positive, "method.negative": self.negative})


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
        _one_of("method.layers", self.layers, ("all", "upper_half"))


@dataclass
class LoreftConfig(MethodConfig):
    """`method=loreft`: a low-rank edit after every layer, at the first and last tokens of the prompt."""

    rank: int = 8
    num_first: int = 1
    num_last: int = 1

    def __post_init__(self) -> None:
        _within("method.rank", self.rank, 1)
        _within("method.num_first", self.num_first, 0)
        _within("method.num_last", self.num_last, 0, FAR)
        if self.num_first + self.num_last == 0:
            raise UserError("method.num_first=0 and method.num_last=0 leave nothing to edit; set one of them above 0")


@dataclass
class IclConfig(MethodConfig):
    """`method=icl`: training examples, drawn by the seed, before every prompt."""

    num_examples: int = 5

    def __post_init__(self) -> None:
        _within("method.num_examples", self.num_examples, 1)


@dataclass
class RandomOffsetConfig(MethodConfig):
    """`method=random_offset`: another run's offsets, each replaced by a random vector of the same length."""

    source: str = MISSING

    def __post_init__(self) -> None:
        _not_empty(**{"method.source": self.source})


@dataclass
class TrainerConfig:
    """The training loop. `l1` is lambda in `loss + lambda * sum |parameters|`; `beta` is DPO's.

    The validation split is looked at every `validate_every` epochs and after the last one.
    """

    learning_rate: float = MISSING
    l1: float = 0.0
    beta: float = 0.5
    init_std: float = 1e-3
    num_epochs: int = 5
    batch_size: int = 8
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    keep: str = "last"
    validate_every: int = 1

    def __post_init__(self) -> None:
        _one_of("trainer.keep", self.keep, ("last", "best"))
        for key in ("num_epochs", "batch_size", "validate_every"):
            _within(f"trainer.{key}", getattr(self, key), 1)
        for key in ("l1", "init_std", "weight_decay"):
            _within(f"trainer.{key}", getattr(self, key), 0)
        for key in ("learning_rate", "beta", "max_grad_norm"):
            _above_zero(f"trainer.{key}", getattr(self, key))


@dataclass
class EvalConfig:
    """What is scored: a split, under a named prompt protocol.

    `judge_true` and `judge_info` are models, by Hub id or folder, that judge what is generated for
    `task=truthfulqa_generation`; off by default. They use the dtype and the device of the model they judge.
    """

    protocol: str = "iti"
    split: str = "test"
    judge_true: str | None = None
    judge_info: str | None = None

    def __post_init__(self) -> None:
        _not_empty(**{"eval.judge_true": self.judge_true, "eval.judge_info": self.judge_info})
        _one_of("eval.protocol", self.protocol, ("iti", "lm_eval"))
        _one_of("eval.split", self.split, ("train", "validation", "test"))


@dataclass
class SelectHeadsConfig:
    """`lofit select-heads`. `num_heads` is a count (27) or a share of all heads (3%)."""

    model: ModelConfig = MISSING
    task: TaskConfig = MISSING
    selector: SelectorConfig = MISSING
    trainer: TrainerConfig = MISSING
    eval: EvalConfig = field(default_factory=EvalConfig)
    num_heads: str = "3%"
    seed: int = 42
    runs_dir: str = "runs"

    def __post_init__(self) -> None:
        _within("seed", self.seed, 0, MAX_SEED)
        _not_empty(runs_dir=self.runs_dir)


@dataclass
class TrainOffsetsConfig:
    """`lofit train-offsets`. With `num_heads` the best heads of the selection are taken anew from its scores."""

    model: ModelConfig = MISSING
    task: TaskConfig = MISSING
    method: MethodConfig = MISSING
    trainer: TrainerConfig = MISSING
    eval: EvalConfig = field(default_factory=EvalConfig)
    head_mask: str = "latest"
    num_heads: str | None = None
    seed: int = 42
    runs_dir: str = "runs"

    def __post_init__(self) -> None:
        _within("seed", self.seed, 0, MAX_SEED)
        _not_empty(head_mask=self.head_mask, num_heads=self.num_heads, runs_dir=self.runs_dir)


@dataclass
class EvaluateConfig:
    """`lofit evaluate`."""

    model: ModelConfig = MISSING
    task: TaskConfig = MISSING
    eval: EvalConfig = field(default_factory=EvalConfig)
    intervention: str = "latest"
    seed: int = 42
    runs_dir: str = "runs"

    def __post_init__(self) -> None:
        _within("seed", self.seed, 0, MAX_SEED)
        _not_empty(intervention=self.intervention, runs_dir=self.runs_dir)


@dataclass
class CompareConfig:
    """`lofit compare`. `baseline` is one of the runs, whose row the others of its table are set against.

    By default the row without an intervention. `group_by` names what the runs of a row have in common; by default
    everything but seed and fold.
    """

    runs: list[str] = field(default_factory=list)
    baseline: str | None = None
    group_by: list[str] | None = None
    num_resamples: int = 10_000
    seed: int = 42
    runs_dir: str = "runs"

    def __post_init__(self) -> None:
        _within("seed", self.seed, 0, MAX_SEED)
        _not_empty(baseline=self.baseline, runs_dir=self.runs_dir)
        _within("num_resamples", self.num_resamples, 100, MAX_RESAMPLES)
        for run in self.runs:
            _not_empty(runs=run)
        if self.group_by == []:
            raise UserError("group_by=[] is empty; name settings, or leave it out to pool runs over seed and fold")


StageConfig = SelectHeadsConfig | TrainOffsetsConfig | EvaluateConfig | CompareConfig

STAGE_CONFIGS: dict[str, type[Any]] = {
    "select_heads": SelectHeadsConfig,
    "train_offsets": TrainOffsetsConfig,
    "evaluate": EvaluateConfig,
    "compare": CompareConfig,
}

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
