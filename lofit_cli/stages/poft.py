"""PoFT: how likely other models find each right answer, which says how much the answer counts in training."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from lofit_cli.errors import UserError, naming_items
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.load import check_source, load_other, naming_model
from lofit_cli.models.logprobs import score_answers
from lofit_cli.processes import num_processes
from lofit_cli.schema.sources import ModelConfig
from lofit_cli.tasks.task import Task

SPLITS = ("train", "validation")


def check_poft(task: Task[Any], models: Sequence[str], learner: str, learns: bool) -> None:
    """Refuse models that would weigh nothing, and names that no model can have, before any model is loaded.

    Args:
        learner: the method or selector, as it was set.
        learns: whether it uses the task's loss.

    Raises:
        UserError: it does not, the task is trained on pairs, or a name is none.
    """
    if models and not learns:
        raise UserError(
            f"trainer.poft={list(models)} weighs right answers in the task's loss, which {learner} does not use; leave "
            "it out"
        )
    if models and task.objective != "sft":
        raise UserError(
            f"trainer.poft={list(models)} weighs right answers, and task '{task.name}' is trained on pairs; leave it "
            "out"
        )
    for name in models:
        check_source(name, "trainer.poft")


def weigh_answers(task: Task[Any], lm: Decoder, models: Sequence[str]) -> Task[Any]:
    """Return a task whose right answers are weighed by how likely other models find them; as it is without any.

    Args:
        lm: the model that is trained, whose device the others take.
        models: embedded names, Hub ids or folders; each reads an answer in its own tokens, and is let go again.

    Raises:
        UserError: one of them can't be loaded.

    Source: PoFT (arXiv 2412.12865), equation 4.
    """
    if not models:
        return task
    of_models = [_mean_log_probs(task, lm, name) for name in models]
    likelihoods = {split: _average([found[split] for found in of_models]) for split in SPLITS}
    return replace(task, likelihoods=likelihoods)


def _mean_log_probs(task: Task[Any], lm: Decoder, name: str) -> dict[str, list[torch.Tensor]]:
    """Return, for each item of a split, (num_chosen,) the mean log-probability of a token of each right answer.

    The other model reads what the trained one does: turns where that has a chat template, and what ends an answer.
    """
    system_prompt = lm.chat.system_prompt if lm.chat else None
    # Each of several processes finds the accelerator of its own by itself.
    device = lm.device.type if num_processes() > 1 else str(lm.device)
    config = ModelConfig(name, device=device, chat_template=lm.chat is not None, system_prompt=system_prompt)
    with naming_model("trainer.poft"):
        other = load_other(config)
    other = replace(other, max_row_tokens=lm.max_row_tokens)
    found = {}
    for split in SPLITS:
        prompted = [(example.prompt, example.answers[: example.num_chosen]) for example in task.examples(split)]
        with naming_items([item.name for item in task.items(split)]):
            scored = score_answers(other, prompted, append_eos=task.config.append_eos)
        found[split] = [torch.tensor([value / value.num_tokens for value in item]) for item in scored]
    return found


def _average(of_models: Sequence[Sequence[torch.Tensor]]) -> list[list[float]]:
    return [torch.stack(of_item).mean(dim=0).tolist() for of_item in zip(*of_models, strict=True)]
