"""How long it takes to measure a split, and how many tokens that is."""

from collections.abc import Sequence
from typing import Any

from lofit_cli.errors import naming_items
from lofit_cli.evaluation.measure import measure_split
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.models.logprobs import tokenize_items
from lofit_cli.planning.plan import Part, Plan
from lofit_cli.planning.sample import peak, seconds_for_all, silent, spread
from lofit_cli.prompts import NOTHING, Prompt
from lofit_cli.tasks.task import Task

FIRST_SCORED = 2
FIRST_GENERATED = 8
"""How many items a sample begins with: what is generated needs about a batch, whose rows share each step's time."""


def plan_measuring(
    lm: LanguageModel, load_seconds: float, task: Task[Any], split: str, protocol: str, edit: Intervention
) -> Plan:
    """Return what measuring a split under an intervention takes."""
    sizes = count_tokens(lm, task, split, protocol, edit.demonstrations)
    with silent(), edit.attach(lm):
        seconds = seconds_to_measure(lm, task, split, protocol, sizes, edit.demonstrations)
        _measure(lm, task, split, protocol, [sizes.index(max(sizes))], edit.demonstrations)
    parts = (Part("loading", None, load_seconds), Part(f"measuring {split}", sum(sizes), seconds))
    notes = (f"up to {task.config.max_new_tokens} tokens more are generated for each item",) if task.generates else ()
    return Plan(len(sizes), 0, sum(sizes), edit.num_parameters, parts, peak(), notes)


def count_tokens(
    lm: LanguageModel, task: Task[Any], split: str, protocol: str, demonstrations: Prompt = NOTHING
) -> list[int]:
    """Return how many tokens the model is given for each item: its prompt with each answer, or to go on from."""
    items = task.items(split)
    prompts = [task.prompt(item, protocol, demonstrations) for item in items]
    with naming_items([item.name for item in items]):
        if task.generates:
            return [len(text.tokens) for text in lm.encode([lm.prompt_text(prompt) for prompt in prompts])]
        tokenized = tokenize_items(lm, list(zip(prompts, map(task.answers, items), strict=True)))
    return [sum(len(sequence.tokens) for sequence in sequences) for sequences in tokenized]


def seconds_to_measure(
    lm: LanguageModel,
    task: Task[Any],
    split: str,
    protocol: str,
    sizes: Sequence[int],
    demonstrations: Prompt = NOTHING,
) -> float:
    """Return how long it takes to measure a split under what is attached.

    Args:
        sizes: the items' tokens; time goes by these where answers are scored, and by items where text is generated.
    """
    weights = [1] * len(sizes) if task.generates else sizes

    def work(num_items: int) -> float:
        places = spread(range(len(sizes)), num_items)
        _measure(lm, task, split, protocol, places, demonstrations)
        return sum(weights[place] for place in places) / sum(weights)

    return seconds_for_all(work, len(sizes), FIRST_GENERATED if task.generates else FIRST_SCORED)


def _measure(
    lm: LanguageModel, task: Task[Any], split: str, protocol: str, places: Sequence[int], demonstrations: Prompt
) -> None:
    items = task.items(split)
    few = task.with_items({split: [items[place] for place in places]})
    measure_split(lm, few, split, protocol, demonstrations=demonstrations)
