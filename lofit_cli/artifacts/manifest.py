"""What a run states of itself in `manifest.json`: a type for each stage; `finished_runs` reads them.

A field's metadata says what it means to a comparison: runs that differ in it stand in different tables or rows, or may
be put into rows by it.
"""

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

MANIFEST = "manifest.json"
FORMAT = 2
"""Goes up when what an older manifest says, or a file beside it, would be misunderstood."""
FINISHED = "finished"

TABLES = {"separates": "tables"}
ROWS = {"separates": "rows"}
ROWS_IF_ASKED = {"separates": "rows, where group_by asks for it"}


@dataclass(frozen=True, kw_only=True)
class Git:
    """The commit of a checkout, and whether it had changes."""

    commit: str
    dirty: bool


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What is known of every run.

    Attributes:
        draw_seconds: of `wall_seconds`, what random selections beside the selected heads have taken.
        reused_at: when the same run was last asked for again, and not made again.
        copied_from: the directory of the run that this one's files are a second name of.
        file_hashes: a SHA-256 of each of the small files that later commands read.
        num_threads: of torch, where the run computed anything; with another number the last bits may differ.
        cpu_capability: the vector instructions that torch used, likewise.
    """

    STAGE: ClassVar[str]

    status: str
    stage: str
    format: int
    ended_at: str
    wall_seconds: float
    draw_seconds: float = 0.0
    peak_memory_bytes: int = 0
    peak_gpu_memory_bytes: int = 0
    error: str | None = None
    reused_at: str | None = None
    copied_from: str | None = None
    file_hashes: dict[str, str] = field(default_factory=dict)
    num_threads: int | None = None
    cpu_capability: str | None = None
    config_hash: str
    config: dict[str, Any]
    command: list[str]
    python: str
    platform: str
    versions: dict[str, str | None]
    git: Git | None

    @property
    def wanted_at(self) -> str:
        """Return when this run was last made or asked for."""
        return max(self.ended_at, self.reused_at or "")

    @property
    def own_seconds(self) -> float:
        """Return how long the run took for what it is about."""
        return self.wall_seconds - self.draw_seconds


@dataclass(frozen=True, kw_only=True)
class TaskManifest(Manifest):
    """A run with a model and a benchmark.

    Attributes:
        model: the name it was asked for by; two names may be one model, which `model_hash` tells.
        model_config: what its config says beyond the defaults of its class.
        tokenizer_hash: of the vocabulary and of how a few texts are split.
        first_tokens: what every text begins with, such as the BOS token.
        chat_template: a hash of the template that prompts were made turns of a conversation by, if any.
        quantization: how the weights were made coarser when they were loaded, if they were.
        content_key: a hash of all that shaped the run; runs that agree in it are the same run.
        continued: whether it went on from where an earlier process stopped.
        num_processes: how many processes shared its work.
    """

    model: str
    model_commit: str | None
    model_hash: str = field(metadata=TABLES)
    model_config: dict[str, Any] | None = None
    tokenizer_hash: str | None = None
    num_model_parameters: int
    dtype: str = field(metadata=TABLES)
    quantization: str | None = field(default=None, metadata=TABLES)
    device: str
    batching: str
    first_tokens: list[str] = field(metadata=TABLES)
    chat_template: str | None = field(default=None, metadata=TABLES)
    system_prompt: str | None = field(default=None, metadata=TABLES)
    task: str = field(metadata=TABLES)
    content_key: str | None = None
    continued: bool = False
    num_processes: int = 1
    fold: int = field(metadata=ROWS_IF_ASKED)
    dataset_hash: str = field(metadata=ROWS_IF_ASKED)

    @property
    def uses_chat_template(self) -> bool:
        """Return whether prompts were turns of a conversation."""
        return self.chat_template is not None


@dataclass(frozen=True, kw_only=True)
class Making:
    """How heads were selected or an intervention was made.

    Attributes:
        made_by: settings that shaped it; runs that agree in all of them are repeats.
        selection_seed: the seed of the selected heads, where heads were selected.
        num_draws: how many random selections there are beside the selected heads.
        unknown_history: files it was built on that do not say what they have learnt from.
    """

    selector: str | None = field(default=None, metadata=ROWS)
    num_heads: int = field(default=0, metadata=ROWS)
    num_trained_parameters: int = field(metadata=ROWS)
    num_train: int | None = field(metadata=ROWS)
    made_by: dict[str, Any]
    seed: int = field(metadata=ROWS_IF_ASKED)
    selection_seed: int | None = None
    num_draws: int = 0
    unknown_history: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class MethodMaking(Making):
    """How an intervention was made, which an evaluation repeats, so that a comparison needs one manifest a run.

    Attributes:
        label: what tables call it, where the user said so.
        source_seed: the seed of the run that it was built on, where it was built on one.
    """

    label: str | None = field(default=None, metadata=ROWS)
    method: str = field(metadata=ROWS)
    source_seed: int | None = None

    def repeated(self) -> dict[str, Any]:
        """Return what an evaluation repeats."""
        return {known.name: getattr(self, known.name) for known in fields(MethodMaking)}


@dataclass(frozen=True, kw_only=True)
class SelectHeadsManifest(TaskManifest, Making):
    """A run of `select-heads`."""

    STAGE = "select_heads"

    @property
    def heads_seed(self) -> int | None:
        """Return the seed of the heads: where they were copied from another run they are that one's draw."""
        return self.seed if self.selection_seed is None else self.selection_seed


@dataclass(frozen=True, kw_only=True)
class TrainOffsetsManifest(TaskManifest, MethodMaking):
    """A run of `train-offsets`.

    Attributes:
        alpha, layer: what was chosen by the validation split, where something was.
        intervention_hash: a SHA-256 of the intervention's file.
    """

    STAGE = "train_offsets"

    intervention_hash: str | None = None
    head_mask: str | None = None
    selection_seconds: float = 0.0
    alpha: float | None = None
    layer: int | None = None

    @property
    def heads_seed(self) -> int | None:
        """Return the seed of the heads that were taken; None where it is not known."""
        return self.selection_seed


@dataclass(frozen=True, kw_only=True)
class EvaluateManifest(TaskManifest, MethodMaking):
    """A run of `evaluate`.

    Attributes:
        seed: of the run that made the intervention.
        trained_fold: that run's fold, of whatever task it was trained on.
        training_seconds: that run's, with its selection's.
        judges: metric -> the model that judged it.
        num_test: how many of the test items were drawn, where not all were measured.
    """

    STAGE = "evaluate"

    split: str = field(metadata=TABLES)
    protocol: str = field(metadata=TABLES)
    num_test: int | None = field(default=None, metadata=TABLES)
    metrics: list[str]
    questions_hash: str = field(metadata=ROWS_IF_ASKED)
    intervention: str | None = field(metadata=ROWS_IF_ASKED)
    trained_fold: int | None = None
    training_seconds: float = 0.0
    judges: dict[str, str]
