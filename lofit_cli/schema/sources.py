"""The model, the task and what is measured of it."""

from dataclasses import asdict, dataclass, field
from typing import Any

from omegaconf import MISSING

from lofit_cli.errors import UserError
from lofit_cli.prompts import QA_FRAME
from lofit_cli.schema.checks import line_ends, not_empty, one_of, within
from lofit_cli.schema.limits import MAX_HOPS

DTYPES = ("float32", "bfloat16", "float16")
QUANTIZATIONS = ("int8", "nf4", "torchao-int4", "torchao-int8")
SPLITS = ("train", "validation", "test")


@dataclass
class ModelConfig:
    """A decoder: `smollm2`, a Hub id, or a folder with a config and safetensors.

    `dtype` is that of the computation; `auto` is the checkpoint's own. `add_bos` says whether a text begins with the
    tokenizer's BOS token: `true`, `false`, or `auto` for what the tokenizer itself does. With `chat_template` prompts
    are turns of a conversation, which `system_prompt` may begin. `quantization` makes the weights of linear maps
    coarser when they are loaded; `device_map=auto` spreads the layers over all accelerators, and what has no room
    there over the machine's memory and the disk; `tp=auto` gives each process a part of every layer.
    """

    id: str = MISSING
    revision: str | None = None
    dtype: str = "auto"
    device: str = "auto"
    max_row_tokens: int | None = None
    add_bos: str = "auto"
    chat_template: bool = False
    system_prompt: str | None = None
    quantization: str | None = None
    device_map: str | None = None
    tp: str | None = None

    def shaping(self) -> dict[str, Any]:
        """Return the settings that shape what is computed; on which of several devices of one kind does not."""
        return {key: value for key, value in asdict(self).items() if key != "device"}

    @property
    def asking(self) -> dict[str, Any]:
        """Return what a run's manifest says of the model beside its name, for finding the latest such run."""
        asked = {"uses_chat_template": self.chat_template, "system_prompt": self.system_prompt}
        return asked | {"quantization": self.quantization}

    def __post_init__(self) -> None:
        one_of("model.dtype", self.dtype, ("auto", *DTYPES))
        self.add_bos = str(self.add_bos).lower()
        one_of("model.add_bos", self.add_bos, ("auto", "true", "false"))
        self.system_prompt = None if self.system_prompt is None else line_ends(self.system_prompt)
        if self.system_prompt is not None and not self.chat_template:
            raise UserError("model.system_prompt is for conversations; add model.chat_template=true, or leave it out")
        if self.chat_template and self.add_bos != "auto":
            raise UserError(f"model.add_bos={self.add_bos} is not for model.chat_template=true, which adds its own")
        if self.max_row_tokens is not None:
            within("model.max_row_tokens", self.max_row_tokens, 1)
        self.quantization, self.device_map = _if_any(self.quantization), _if_any(self.device_map)
        one_of("model.quantization", self.quantization or "none", ("none", *QUANTIZATIONS))
        one_of("model.device_map", self.device_map or "none", ("none", "auto"))
        self.tp = _if_any(self.tp)
        one_of("model.tp", self.tp or "none", ("none", "auto"))
        for key in ("device_map", "quantization"):
            if self.tp and getattr(self, key):
                raise UserError(
                    f"model.{key}={getattr(self, key)} is not for model.tp={self.tp}; leave one of them out"
                )
        if self.device_map and self.device != "auto":
            raise UserError(
                f"model.device={self.device} puts the whole model on one device; leave it out for "
                f"model.device_map={self.device_map}, or leave that out"
            )


def _if_any(name: str | None) -> str | None:
    """Return a name, or None for `none`."""
    return None if name == "none" else name


@dataclass
class TaskConfig:
    """A benchmark: where its questions come from and how they are shown in training.

    `data_dir` is a folder, or `sample` for the task's bundled sample; `num_hops` and `story_seed` are kinship's.
    `swap_questions` lists splits in which each item's answers stand after another item's question, a control.
    `num_train` and `num_test` items are drawn of these splits, always the same ones.
    """

    name: str = MISSING
    fold: int = 0
    data_dir: str | None = None
    hub_id: str | None = None
    train_prompt: str = QA_FRAME
    answer_prefix: str = " "
    close_answers: bool = True
    append_eos: bool = False
    train_answers: str = "first"
    num_train: int | None = None
    num_test: int | None = None
    max_new_tokens: int = 32
    num_hops: int = 2
    story_seed: int = 42
    swap_questions: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """Return what tables call the task."""
        return self.name

    def __post_init__(self) -> None:
        self.train_prompt, self.answer_prefix = line_ends(self.train_prompt), line_ends(self.answer_prefix)
        one_of("task.train_answers", self.train_answers, ("first", "all"))
        for key in ("num_train", "num_test"):
            within(f"task.{key}", 1 if getattr(self, key) is None else getattr(self, key), 1)
        for split in self.swap_questions:
            one_of("task.swap_questions", split, SPLITS)
        within("task.max_new_tokens", self.max_new_tokens, 1)
        within("task.num_hops", self.num_hops, 2, MAX_HOPS)
        if "{question}" not in self.train_prompt:
            raise UserError(f"task.train_prompt={self.train_prompt!r} has no place for {{question}}; add it")


@dataclass
class EvalConfig:
    """What is scored: a split, under a named prompt protocol.

    `judge_true` and `judge_info` are models, by Hub id or folder, that judge what is generated for
    `task=truthfulqa_generation`; off by default. They use the dtype and the devices of the model they judge.
    """

    protocol: str = "iti"
    split: str = "test"
    judge_true: str | None = None
    judge_info: str | None = None

    def __post_init__(self) -> None:
        not_empty(**{"eval.judge_true": self.judge_true, "eval.judge_info": self.judge_info})
        one_of("eval.protocol", self.protocol, ("iti", "lm_eval", "urial"))
        one_of("eval.split", self.split, SPLITS)
