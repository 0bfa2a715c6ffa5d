"""What a run or a sweep would take, as a table; nothing is run to its end, and nothing is written."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any, TypeVar

from lofit_cli.artifacts.provenance import reset_peak_memory
from lofit_cli.console import show_text
from lofit_cli.models.memory import memory_explained
from lofit_cli.planning.plan import Plan, Point
from lofit_cli.report.tables import Column, Table, left_and_right, show_table

SAME_WORK = ("learning_rate", "l1", "beta", "init_std", "weight_decay", "max_grad_norm")
"""Settings of the training loop that change what is learnt and not how long it takes; the seed is another."""
MEMORY = "memory"
GB = 1e9

Number = TypeVar("Number", int, float)


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
    table = _one(command, plans[0]) if len(points) == len(plans) == 1 else _several(command, points, to_do, plans)
    show_text(f"{table.title}\n")
    show_table(replace(table, title="", note=""))
    show_text("".join(f"{note}\n" for note in (table.note, _load()) if note))


def _load() -> str:
    """Say whether other programs took a part of the cores while the sample was timed."""
    load, num_cores = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0, os.cpu_count() or 1
    if load <= num_cores:
        return ""
    return f"note: this machine is busy (load {load:.1f} on {num_cores} cores), and on a free one it takes less time"


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
    title = f"{command} would take {_about(plan.seconds)}"
    return Table(title, left_and_right("part", "tokens", "time"), rows, "; ".join([about, *plan.notes]))


def _several(command: str, points: Sequence[Point], to_do: Sequence[Point], plans: Sequence[Plan]) -> Table:
    names = _differing([point.overrides for point in points])
    by_point = dict(zip(map(id, to_do), plans, strict=True))
    rows = [[name, *_cells(by_point.get(id(point)))] for name, point in zip(names, points, strict=True)]
    num_done = len(points) - len(to_do)
    counted = f"{num_done} done, {len(to_do)} to do" if any(p.is_done is not None for p in points) else "all to do"
    notes = dict.fromkeys(note for plan in plans for note in plan.notes)
    title = f"{command}: {len(points)} points, {counted}, {_about(_sum(plan.seconds for plan in plans))}"
    columns = [Column("point", "left", is_whole=True), *map(Column, ("items", "steps", "tokens", "time", "memory"))]
    return Table(title, columns, [*rows, _in_all(plans)], "; ".join(notes))


def _cells(plan: Plan | None) -> list[str]:
    if plan is None:
        return ["", "", "", "done", ""]
    counts = [f"{plan.num_items:,}", f"{plan.num_steps:,}", _count(plan.num_tokens)]
    return [*counts, in_words(plan.seconds), _memory(plan)]


def _in_all(plans: Sequence[Plan]) -> list[str]:
    """Return the last row of a sweep: sums, and the memory of the point that takes most."""
    largest = max(plans, key=lambda plan: sum(plan.memory.values()), default=None)
    return [
        "in all",
        "",
        f"{sum(plan.num_steps for plan in plans):,}",
        _count(_sum(plan.num_tokens for plan in plans)),
        in_words(_sum(plan.seconds for plan in plans)),
        _memory(largest) if largest else "",
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


def _about(seconds: float | None) -> str:
    return "a time that is not known" if seconds is None else f"about {in_words(seconds)}"


def _sum(numbers: Iterable[Number | None]) -> Number | None:
    """Return the sum; None where one of them is not known."""
    found = list(numbers)
    known = [number for number in found if number is not None]
    return sum(known[1:], start=known[0]) if known and len(known) == len(found) else None


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _memory(plan: Plan) -> str:
    return " and ".join(f"{size / GB:.2f} GB{' of the GPU' * (place != MEMORY)}" for place, size in plan.memory.items())
