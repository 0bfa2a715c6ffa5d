"""Benchmarks. A task is a function of its config that returns a `Task`; adding one is a file and a line here."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lofit_cli.console import say
from lofit_cli.errors import UserError
from lofit_cli.plugins import look_up
from lofit_cli.schema.sources import ModelConfig, TaskConfig
from lofit_cli.tasks.arc_challenge import load_arc_challenge
from lofit_cli.tasks.bbq import load_bbq
from lofit_cli.tasks.boolq import load_boolq
from lofit_cli.tasks.clutrr import load_clutrr
from lofit_cli.tasks.crows_pairs import load_crows_pairs
from lofit_cli.tasks.kinship import load_kinship
from lofit_cli.tasks.misconceptions import load_misconceptions
from lofit_cli.tasks.mmlu import load_mmlu
from lofit_cli.tasks.mquake import load_mquake
from lofit_cli.tasks.nq import load_nq
from lofit_cli.tasks.perplexity import load_perplexity
from lofit_cli.tasks.rows import load_file, load_hub
from lofit_cli.tasks.siqa import load_siqa
from lofit_cli.tasks.stereoset import load_stereoset
from lofit_cli.tasks.svamp import load_svamp
from lofit_cli.tasks.task import Task
from lofit_cli.tasks.triviaqa import load_triviaqa
from lofit_cli.tasks.truthfulqa import load_truthfulqa
from lofit_cli.tasks.truthfulqa_binary import load_truthfulqa_binary
from lofit_cli.tasks.truthfulqa_generation import load_truthfulqa_generation

TASKS: dict[str, Callable[[TaskConfig], Task[Any]]] = {
    "arc_challenge": load_arc_challenge,
    "bbq": load_bbq,
    "boolq": load_boolq,
    "clutrr": load_clutrr,
    "crows_pairs": load_crows_pairs,
    "file": load_file,
    "hub": load_hub,
    "kinship": load_kinship,
    "misconceptions": load_misconceptions,
    "mmlu": load_mmlu,
    "mquake": load_mquake,
    "nq": load_nq,
    "perplexity": load_perplexity,
    "siqa": load_siqa,
    "stereoset": load_stereoset,
    "svamp": load_svamp,
    "triviaqa": load_triviaqa,
    "truthfulqa": load_truthfulqa,
    "truthfulqa_binary": load_truthfulqa_binary,
    "truthfulqa_generation": load_truthfulqa_generation,
}

FOLDS = {"truthfulqa": 2, "truthfulqa_binary": 2, "truthfulqa_generation": 2}
"""How many folds a task has, where it has more than one."""

SAMPLE = "sample"
"""The `task.data_dir` that stands for the task's bundled sample; a folder of that name is `./sample`."""

SAMPLES_DIR = Path(__file__).with_name("samples")
SAMPLES = {"truthfulqa_binary": "truthfulqa", "truthfulqa_generation": "truthfulqa"}
"""The folder of a task's sample, where it has another task's."""

OWN_TEXTS = ("kinship", "misconceptions")
"""Tasks whose own texts are bundled, so that they need no sample."""


def load_task(config: TaskConfig, model: ModelConfig | None = None) -> Task[Any]:
    """Load a benchmark by its registered name.

    Args:
        model: what is to be asked, so that a question that it can't be asked is refused before it is loaded.
    """
    load = look_up("tasks", config.name, TASKS, "task.name")
    folds = FOLDS.get(config.name, 1)
    if not 0 <= config.fold < folds:
        counted = "1 fold" if folds == 1 else f"{folds} folds"
        raise UserError(f"task.fold={config.fold} is not allowed: task '{config.name}' has {counted}, counted from 0")
    try:
        task = _load_sample(config, load) if config.data_dir == SAMPLE else load(config)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        # A field that is there and holds something else, a number for a text for example.
        raise UserError(
            f"the files of task '{config.name}' are not in its form ({type(error).__name__}: {error}); "
            "compare them with those of task.data_dir=sample"
        )
    if not isinstance(task, Task):
        raise UserError(f"task.name={config.name} loads a {type(task).__name__}, not a Task; mend its package")
    if config.swap_questions and not task.can_swap_questions:
        raise UserError(
            f"task.swap_questions is for tasks in TruthfulQA's form, not for '{config.name}'; leave it out, or set "
            "task=truthfulqa, truthfulqa_binary or misconceptions"
        )
    if model and not model.chat_template:
        _refuse_conversations(task)
    if model and model.chat_template and task.scores_whole_texts:
        raise UserError(
            f"model.chat_template=true is for questions with answers, and task '{config.name}' scores whole texts; "
            "leave it out"
        )
    _note_ambiguous(task)
    return task


def _refuse_conversations(task: Task[Any]) -> None:
    """Refuse turns of a conversation for a model that continues texts."""
    items = (item for split in task.splits.values() for item in split)
    if found := next((item for item in items if item.prompt.text is None), None):
        raise UserError(
            f"question {found.name} is a conversation; set model.chat_template=true, with a model that was trained to "
            "chat"
        )


def _note_ambiguous(task: Task[Any]) -> None:
    """Say how many items list an answer on both sides; benchmarks have some, and they are measured as published."""
    items = [item for split in task.splits.values() for item in split]
    if ambiguous := [item for item in items if item.is_ambiguous]:
        say(
            f"note: {len(ambiguous)} of the {len(items)} questions of '{task.name}' list an answer as right and wrong, "
            f"letter case aside; they are measured as they are, {ambiguous[0].name} for one"
        )


def _load_sample(config: TaskConfig, load: Callable[[TaskConfig], Task[Any]]) -> Task[Any]:
    """Load a task from its bundled sample: a few items of our own in the benchmark's file format, to try things with.

    A sample has fewer training items than a task usually draws; all of them are taken then.
    """
    if config.name in OWN_TEXTS:
        return load(replace(config, data_dir=None))
    folder = SAMPLES_DIR / SAMPLES.get(config.name, config.name)
    task = load(replace(config, data_dir=str(folder)))
    size = len(task.splits.get("train", []))
    if not size or config.num_train is None or config.num_train <= size:
        return task
    say(f"task.data_dir=sample: taking all {size} training items instead of task.num_train={config.num_train}")
    return replace(task, config=replace(task.config, num_train=None))
