"""What a run or a sweep would take, as a table; nothing is run to its end, and nothing is written."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from lofit_cli.artifacts.provenance import reset_peak_memory
from lofit_cli.models.memory import memory_explained
from lofit_cli.planning.plan import Plan, Point
from lofit_cli.report.tables import Table, left_and_right, show_table

SAME_WORK = ("learning_rate", "l1", "beta", "init_std", "weight_decay", "max_grad_norm")
"""Settings of the training loop that change what is learnt and not how long it takes; the seed is another."""
GB = 1e9


def show_plans(stage: str, points: Sequence[Point], make_plan: Callable[[Any], Plan]) -> None:
    """Print what a run would take, or each point of a sweep and all of it.

    Args:
        make_plan: takes a point's settings.

    Raises:
        UserError: a point can't be run as it is set.
    """
    to_do = [point for point in points if not point.is_done]
    plans = list(_plans([point.settings for point in to_do], make_plan))
    command = f"lofit {stage.replace('_', '-')}"
    show_table(_one(command, plans[0]) if len(points) == len(plans) == 1 else _several(command, points, to_do, plans))


def _plans(settings: Sequence[Any], make_plan: Callable[[Any], Plan]) -> Iterator[Plan]:
    """Yield the plan of each point; points of the same work share one, and points of the same model load it once."""
    known: dict[str, Plan] = {}
    loaded = None
    for config in settings:
        key = _work(config)
        if key not in known:
            reset_peak_memory()
            with memory_explained(config.model):
                known[key] = make_plan(config)
        plan = known[key]
        if loaded == config.model:
            plan = replace(plan, parts=tuple(part for part in plan.parts if part.name != "loading"))
        loaded = config.model
        yield plan


def _work(config: Any) -> str:
    """Return what tells the work of one point from that of others."""
    settings = asdict(config) | {"seed": None, "runs_dir": None}
    if "trainer" in settings:
        settings["trainer"] = {key: value for key, value in settings["trainer"].items() if key not in SAME_WORK}
    return repr(settings)


def _one(command: str, plan: Plan) -> Table:
    rows = [[part.name, _count(part.num_tokens), in_words(part.seconds)] for part in plan.parts]
    rows.append(["in all", "", in_words(plan.seconds)])
    steps = f", {plan.num_steps:,} steps" if plan.num_steps else ""
    trained = _count(plan.num_trained_parameters) or "an unknown number of"
    about = f"{plan.num_items:,} items{steps}, {trained} trainable parameters; {_memory(plan)} of memory at the peak"
    title = f"{command} would take about {in_words(plan.seconds)}"
    return Table(title, left_and_right("part", "tokens", "time"), rows, "; ".join([about, *plan.notes]))


def _several(command: str, points: Sequence[Point], to_do: Sequence[Point], plans: Sequence[Plan]) -> Table:
    names = _differing([point.overrides for point in points])
    by_point = dict(zip(map(id, to_do), plans, strict=True))
    rows = [[name, *_cells(by_point.get(id(point)))] for name, point in zip(names, points, strict=True)]
    seconds = [plan.seconds for plan in plans]
    known = [value for value in seconds if value is not None]
    total = in_words(sum(known) if len(known) == len(seconds) else None)
    num_done = len(points) - len(to_do)
    counted = f"{num_done} done, {len(to_do)} to do" if any(p.is_done is not None for p in points) else "all to do"
    steps, tokens = sum(plan.num_steps for plan in plans), sum(plan.num_tokens or 0 for plan in plans)
    largest = max((plan for plan in plans), key=lambda plan: sum(plan.memory.values()), default=None)
    rows.append(
        ["in all", "", f"{steps:,}", f"{tokens:,}" if tokens else "", total, _memory(largest) if largest else ""]
    )
    notes = dict.fromkeys(note for plan in plans for note in plan.notes)
    title = f"{command}: {len(points)} points, {counted}, about {total}"
    return Table(title, left_and_right("point", "items", "steps", "tokens", "time", "memory"), rows, "; ".join(notes))


def _cells(plan: Plan | None) -> list[str]:
    if plan is None:
        return ["", "", "", "done", ""]
    return [
        f"{plan.num_items:,}",
        f"{plan.num_steps:,}",
        _count(plan.num_tokens),
        in_words(plan.seconds),
        _memory(plan),
    ]


def _differing(overrides: Sequence[Sequence[str]]) -> list[str]:
    """Return what tells the points of a sweep apart, as it was typed."""
    common = set.intersection(*map(set, overrides))
    return [" ".join(override for override in point if override not in common) or "as typed" for point in overrides]


def in_words(seconds: float | None) -> str:
    """Return a time as people say it; an estimate is not worth more digits."""
    if seconds is None:
        return "unknown"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _memory(plan: Plan) -> str:
    return " and ".join(f"{size / GB:.2f} GB of the {place}" for place, size in plan.memory.items())
