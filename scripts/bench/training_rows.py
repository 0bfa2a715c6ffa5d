"""Rows about training: DPO steps beside TRL, and what a step, the reference and a validation cost."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import peft
import torch
from measuring import Measured, Row, stopwatch
from peers import SCALES
from place import PROTOCOL, Place
from torch import Tensor
from training_job import Training, per_token

from lofit_cli.models.logprobs import answer_logprobs
from lofit_cli.training import trainer as training

GOALS = {"scale": {"float32": 10.0, "bfloat16": 8.0}, "offset": {"float32": 12.0, "bfloat16": 10.0}}
"""Times faster than TRL, by what is learnt; the reference is part of the time."""
NOTHING = 0.01
"""The share of an epoch up to which a reference that is known already costs nothing: it has to be looked up."""


def dpo_row(
    place: Place, name: str, part: str, heads: Tensor, adapter: Callable[[], peft.PeftConfig], as_is: bool = False
) -> Row:
    """Return DPO steps of ours, with their reference, beside TRL's.

    Args:
        as_is: leave TRL the checkpointing of activations, which is its default.
    """
    job = Training(place, part, heads)
    where = f"{int(heads.sum())} {'late ' * name.startswith('dpo-late')}heads"
    what = {"scale": "a scale on all heads, beside IA3", "offset": f"offsets on {where}, beside LoRA"}
    title = f"DPO on {len(job.items)} pairs: {what[part]} with TRL{' as it comes' * as_is}"
    goal, told = GOALS[part].get(place.dtype), {"peer_settings": {"gradient_checkpointing": as_is}}
    return Row(
        name, title, job.ours, lambda: job.peer(adapter(), as_is), job.num_tokens, goal,
        passes=job.passes(), needed=job.needed_reference() + job.needed(), later=job.later_reference,
        about={"pairs": len(job.items), "heads": int(heads.sum()), **_settings(job), **told},
    )  # fmt: skip


def _settings(job: Training) -> dict[str, Any]:
    num_steps = -(-len(job.items) // job.settings.batch_size)
    return {"trainer": job.settings.shaping(), "append_eos": True, "steps": num_steps}


def ia3() -> peft.PeftConfig:
    """Return a scale on each head activation."""
    return peft.IA3Config(task_type="CAUSAL_LM", **SCALES)


def lora() -> peft.PeftConfig:
    """Return PEFT's default LoRA of rank 8 on queries and values."""
    return peft.LoraConfig(target_modules=["q_proj", "v_proj"], r=8, task_type="CAUSAL_LM")


def step_row(place: Place, name: str, part: str, heads: Tensor, goal: float) -> Row:
    """Return training steps as a share of what the bare model takes forth and back on the same rows."""
    job = Training(place, part, heads)
    rows, objective = job.pack(), job.fresh()
    objective.prepare("train")

    def ours() -> Measured:
        with stopwatch() as watch:
            job.take_steps(objective, job.items)
        sequences = [s for item in job.first(job.items) for s in item.sequences]
        with torch.no_grad():
            unedited = answer_logprobs(job.lm, sequences).view(-1, 2)
        return Measured(watch.seconds, per_token(unedited, job.first(job.items)))

    what = "a scale on all heads" if part == "scale" else f"offsets on {int(heads.sum())} late heads"
    title = f"training steps of {what}, of the bare model forth and back"
    mine = job.passes()["ours"]
    passes = {"ours": mine, "peer": replace(mine, layers=place.lm.geometry.num_layers)}
    return Row(
        name,
        title,
        ours,
        lambda: job.bare(rows),
        job.num_tokens,
        goal,
        True,
        passes,
        job.needed(),
        about=_settings(job),
    )


def reference_row(place: Place) -> Row:
    """Return the reference of pairs that have been seen before, as a share of an epoch over them."""
    job = Training(place, "scale", place.lm.geometry.every_head())

    def ours() -> Measured:
        with stopwatch() as first:
            job.fresh().prepare("train")
        return Measured(job.later_reference(), parts={"first": first.seconds})

    def epoch() -> Measured:
        with stopwatch() as watch:
            job.take_steps(job.objective, job.items)
        return Measured(watch.seconds)

    return Row("reference", "the reference a second time, of an epoch", ours, epoch, job.num_tokens, NOTHING, True)


def validation_row(place: Place) -> Row:
    """Return a look at the validation split as a share of an epoch over the whole training split."""
    job = Training(place, "scale", place.lm.geometry.every_head())
    items = job.objective.prepare("validation")
    scale = job.num_all / len(job.items)

    def ours() -> Measured:
        edit = job.edit()
        with edit.attach(job.lm), stopwatch() as watch:
            training._validate(edit, job.objective, items, PROTOCOL)
        return Measured(watch.seconds)

    def epoch() -> Measured:
        with stopwatch() as watch:
            job.take_steps(job.objective, job.items)
        return Measured(watch.seconds * scale, parts={"measured": watch.seconds})

    about = {"validation_items": len(items), "epoch_scaled_by": scale}
    return Row("validation", "a validation, of an epoch", ours, epoch, job.num_tokens, 0.1, True, about=about)
