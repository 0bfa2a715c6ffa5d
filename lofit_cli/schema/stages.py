"""The stages: the four of the paper, `describe`, `generate`, `export` and `doctor`."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from lofit_cli.errors import UserError
from lofit_cli.schema.checks import above_zero, not_empty, one_of, some_numbers, within
from lofit_cli.schema.components import MethodConfig, SelectorConfig, TrainerConfig
from lofit_cli.schema.limits import FIRST_TOKENS, MAX_RESAMPLES, MAX_SEED
from lofit_cli.schema.sources import DTYPES, EvalConfig, ModelConfig, TaskConfig

NO_TRACKER = "none"
TRACKERS = (NO_TRACKER, "mlflow", "tensorboard", "trackio", "wandb")
"""Where the logs of a run may go as well: what accelerate knows and people use with models."""


@dataclass
class SelectHeadsConfig:
    """`lofit select-heads`. `num_heads` is a count (27) or a share of all heads (3%)."""

    model: ModelConfig = MISSING
    task: TaskConfig = MISSING
    selector: SelectorConfig = MISSING
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    num_heads: str = "3%"
    seed: int = 42
    force: bool = False
    cache: bool = True
    tracker: str = NO_TRACKER
    runs_dir: str = "runs"

    def __post_init__(self) -> None:
        one_of("tracker", self.tracker, TRACKERS)
        within("seed", self.seed, 0, MAX_SEED)
        not_empty(runs_dir=self.runs_dir)


@dataclass
class TrainOffsetsConfig:
    """`lofit train-offsets`. With `num_heads` the best heads of the selection are taken anew from its scores.

    `label` is what tables call the run, and what `compare group_by=[label]` makes rows of.
    """

    model: ModelConfig = MISSING
    task: TaskConfig = MISSING
    method: MethodConfig = MISSING
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    head_mask: str = "latest"
    num_heads: str | None = None
    label: str | None = None
    seed: int = 42
    force: bool = False
    cache: bool = True
    tracker: str = NO_TRACKER
    runs_dir: str = "runs"

    def __post_init__(self) -> None:
        one_of("tracker", self.tracker, TRACKERS)
        within("seed", self.seed, 0, MAX_SEED)
        not_empty(head_mask=self.head_mask, num_heads=self.num_heads, label=self.label, runs_dir=self.runs_dir)


@dataclass
class EvaluateConfig:
    """`lofit evaluate`."""

    model: ModelConfig = MISSING
    task: TaskConfig = MISSING
    eval: EvalConfig = field(default_factory=EvalConfig)
    intervention: str = "latest"
    seed: int = 42
    force: bool = False
    cache: bool = True
    tracker: str = NO_TRACKER
    runs_dir: str = "runs"

    def __post_init__(self) -> None:
        one_of("tracker", self.tracker, TRACKERS)
        within("seed", self.seed, 0, MAX_SEED)
        not_empty(intervention=self.intervention, runs_dir=self.runs_dir)


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
        within("seed", self.seed, 0, MAX_SEED)
        not_empty(baseline=self.baseline, runs_dir=self.runs_dir)
        within("num_resamples", self.num_resamples, 100, MAX_RESAMPLES)
        for run in self.runs:
            not_empty(runs=run)
        if self.group_by == []:
            raise UserError("group_by=[] is empty; name settings, or leave it out to pool runs over seed and fold")


@dataclass
class DescribeConfig:
    """`lofit describe`. The model, and how it is asked, are those of the run; `controls` are other runs of that model.

    `text` is a file of plain text; by default texts of our own of another task. The first `num_texts` are read, and of
    these the first `num_continued` continued by up to `max_new_tokens` tokens. `layer` is the one after which
    differences are read as tokens, by default the middle one; they are means over the tokens of these `positions`,
    from 0. `top_k` tokens count as the most raised at a place, and as the likeliest after a prompt of the patchscope,
    which tries `strengths`. `seed` draws the random directions.
    """

    intervention: str = "latest"
    controls: list[str] = field(default_factory=list)
    text: str | None = None
    num_texts: int = 200
    num_continued: int = 50
    max_new_tokens: int = 32
    layer: int | None = None
    positions: list[int] = field(default_factory=lambda: [1, 2, 3, 4])
    top_k: int = 100
    strengths: list[float] = field(default_factory=lambda: [0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0])
    seed: int = 42
    device: str | None = None
    runs_dir: str = "runs"

    def __post_init__(self) -> None:
        not_empty(intervention=self.intervention, text=self.text, device=self.device, runs_dir=self.runs_dir)
        for run in self.controls:
            not_empty(controls=run)
        for key in ("num_texts", "num_continued", "max_new_tokens", "top_k"):
            within(key, getattr(self, key), 1)
        within("layer", self.layer or 0, 0)
        within("seed", self.seed, 0, MAX_SEED)
        if not self.positions or len({*self.positions}) < len(self.positions):
            raise UserError(
                f"positions={self.positions} is not allowed; give some of 0 to {FIRST_TOKENS - 1}, each once"
            )
        for position in self.positions:
            within("positions", position, 0, FIRST_TOKENS - 1)
        some_numbers("strengths", self.strengths)
        for strength in self.strengths:
            above_zero("strengths", strength)


@dataclass
class GenerateConfig:
    """`lofit generate`. The model, and how it is asked, are those of the run. Without `prompt`, lines are read."""

    intervention: str = "latest"
    prompt: str | None = None
    max_new_tokens: int = 64
    device: str | None = None
    runs_dir: str = "runs"

    def __post_init__(self) -> None:
        not_empty(intervention=self.intervention, prompt=self.prompt, device=self.device, runs_dir=self.runs_dir)
        within("max_new_tokens", self.max_new_tokens, 1)


@dataclass
class DoctorConfig:
    """`lofit doctor`: the model that is to be checked, and where runs would go."""

    model: ModelConfig = MISSING
    runs_dir: str = "runs"

    def __post_init__(self) -> None:
        not_empty(runs_dir=self.runs_dir)


EXPORTS = ("hf", "peft", "gguf", "vector")
"""What an intervention can leave the lab as."""


@dataclass
class ExportConfig:
    """`lofit export`. The model is that of the intervention's own run; `out` must not exist, or be empty.

    `dtype` is that of the weights that are written; `auto` is the base's. The proof is made in float32.
    """

    intervention: str = "latest"
    to: str = MISSING
    out: str = MISSING
    dtype: str = "auto"
    device: str | None = None
    runs_dir: str = "runs"

    def __post_init__(self) -> None:
        not_empty(intervention=self.intervention, out=self.out, device=self.device, runs_dir=self.runs_dir)
        one_of("to", self.to, EXPORTS)
        one_of("dtype", self.dtype, ("auto", *DTYPES))


StageConfig = SelectHeadsConfig | TrainOffsetsConfig | EvaluateConfig | CompareConfig | DescribeConfig | ExportConfig

STAGE_CONFIGS: dict[str, type[Any]] = {
    "select_heads": SelectHeadsConfig,
    "train_offsets": TrainOffsetsConfig,
    "evaluate": EvaluateConfig,
    "compare": CompareConfig,
    "describe": DescribeConfig,
    "generate": GenerateConfig,
    "export": ExportConfig,
    "doctor": DoctorConfig,
}
