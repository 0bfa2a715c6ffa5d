"""The dataclasses behind conf/: every key a user can set, its type and what it may hold.

`__post_init__` runs when a composed config becomes its dataclass, so a wrong value is refused before any work starts.
"""

import sys
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from lofit_cli.errors import UserError, did_you_mean

MAX_SEED = 2**32 - 1
MAX_RESAMPLES = 1_000_000


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
    """A benchmark: where its questions come from and how they are shown in training."""

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

    def __post_init__(self) -> None:
        _one_of("task.train_answers", self.train_answers, ("first", "all"))
        _within("task.num_train", 1 if self.num_train is None else self.num_train, 1)
        _within("task.max_new_tokens", self.max_new_tokens, 1)
        if "{question}" not in self.train_prompt:
            raise UserError(f"task.train_prompt={self.train_prompt!r} has no place for {{question}}; add it")


@dataclass
class SelectorConfig:
    """How heads are scored."""

    name: str = MISSING


@dataclass
class MethodConfig:
    """How an intervention is made."""

    name: str = MISSING


@dataclass
class TrainerConfig:
    """The training loop. `l1` is lambda in `loss + lambda * sum |parameters|`; `beta` is DPO's."""

    learning_rate: float = MISSING
    l1: float = 0.0
    beta: float = 0.5
    init_std: float = 1e-3
    num_epochs: int = 5
    batch_size: int = 8
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    keep: str = "last"

    def __post_init__(self) -> None:
        _one_of("trainer.keep", self.keep, ("last", "best"))
        for key in ("num_epochs", "batch_size"):
            _within(f"trainer.{key}", getattr(self, key), 1)
        for key in ("l1", "init_std", "weight_decay"):
            _within(f"trainer.{key}", getattr(self, key), 0)
        for key in ("learning_rate", "beta", "max_grad_norm"):
            _above_zero(f"trainer.{key}", getattr(self, key))


@dataclass
class EvalConfig:
    """What is scored: a split, under a named prompt protocol."""

    protocol: str = "iti"
    split: str = "test"

    def __post_init__(self) -> None:
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
