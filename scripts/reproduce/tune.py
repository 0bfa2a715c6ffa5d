"""Learning rates side by side, by what the last look at the validation split said (scripts/reproduce/tune.sh).

python scripts/reproduce/tune.py runs/paper/smollm2/tune runs/paper/smollm2/truthfulqa-*/seed-42/tune-* --metric mc1
"""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from lofit_cli.artifacts.files import write_file
from lofit_cli.artifacts.finished_runs import is_finished, read_manifest
from lofit_cli.artifacts.manifest import TrainOffsetsManifest
from lofit_cli.artifacts.predictions import metric_unit
from lofit_cli.console import say
from lofit_cli.errors import did_you_mean
from lofit_cli.report.tables import Table, left_and_right, show_table, write_tables

VALIDATION = "validation.jsonl"
RATE = "learning_rate"
PLACE = ("task", "fold", "method")

Runs = Annotated[list[Path], typer.Argument(help="Finished train-offsets runs; others are left out.")]
Metric = Annotated[str | None, typer.Option(help="What the best rate is best by: MC2 where it is measured, or loss.")]
Look = dict[str, Any]
"""A finished run: its folder, task, fold, method and learning rate, and what the validation split said at its end."""


def read_looks(runs: list[Path]) -> list[Look]:
    """Return a look for each finished run, in order; those that learnt nothing step by step have none."""
    finished = [run for run in runs if is_finished(run, TrainOffsetsManifest) and (run / VALIDATION).exists()]
    return sorted(map(_read_look, finished), key=lambda look: (*map(str, _place(look)), look[RATE]))


def _read_look(run: Path) -> Look:
    manifest = read_manifest(run, TrainOffsetsManifest, "runs")
    heads = f" ({manifest.num_heads} heads)" if manifest.num_heads else ""
    method = manifest.label or manifest.method + heads
    found = {"task": manifest.task, "fold": manifest.fold, "method": method}
    found[RATE] = manifest.config["trainer"]["learning_rate"]
    last: Look = json.loads((run / VALIDATION).read_text(encoding="utf-8").splitlines()[-1])
    return found | last | {"run": str(run)}


def _place(look: Look) -> tuple[Any, ...]:
    return tuple(look[key] for key in PLACE)


def find_best(looks: list[Look], metric: str | None = None) -> list[Look]:
    """Return the best rate of each task, fold and method: the lowest loss, or the most of another metric.

    Folds have a best rate each, because one fold's validation questions are test questions of the other. Of rates that
    are equally good it is the lowest.

    Args:
        metric: what the best is best by; without one it is MC2 in the tasks that have it, and the loss in others.
    """
    best: dict[tuple[Any, ...], Look] = {}
    for look in looks:
        name = metric or ("mc2" if "mc2" in look else "loss")
        rival = best.setdefault(_place(look), look)
        if look[name] < rival[name] if name == "loss" else look[name] > rival[name]:
            best[_place(look)] = look
    return list(best.values())


def main(out: Path, runs: Runs, metric: Metric = None) -> None:
    """Show the validation split's loss and metrics at each rate; best.txt lists each fold's best runs."""
    looks = read_looks(runs)
    if not looks:
        say("tune: none of these runs has finished")
        raise typer.Exit(1)
    measured = dict.fromkeys(name for look in looks for name in look)
    names = [name for name in measured if name not in (*PLACE, RATE, "epoch", "run")]
    of_all = [name for name in names if all(name in look for look in looks)]
    if metric and metric not in of_all:
        say(f"tune: --metric {metric} was not measured; {did_you_mean(metric, of_all)}")
        raise typer.Exit(2)
    best = find_best(looks, metric)
    table = _table(looks, names, best, metric)
    write_tables([table], out, "tune")
    runs_of_best = os.fsencode("".join(f"{look['run']}\n" for look in best))
    write_file(out / "best.txt", lambda path: path.write_bytes(runs_of_best))
    show_table(table)


def _table(looks: list[Look], names: list[str], best: list[Look], metric: str | None) -> Table:
    headers = [*PLACE, "rate", *(name if name == "loss" else name.upper() for name in names), ""]
    lines = []
    for look in looks:
        values = [_value(look, name) for name in names]
        lines.append([*map(str, _place(look)), f"{look[RATE]:g}", *values, _mark(look, looks, best)])
    by = metric or ("mc2 where it is measured, or loss" if "mc2" in names else "loss")
    note = f"validation split after training; best by {by}, *: at an end of the rates tried"
    return Table("Learning rates", left_and_right(*headers), lines, note, _records(looks, names))


def _value(look: Look, name: str) -> str:
    if name not in look:
        return ""
    return f"{look[name]:.3f}" if name == "loss" else f"{metric_unit(name).factor * look[name]:.1f}"


def _mark(look: Look, looks: list[Look], best: list[Look]) -> str:
    """Return what is to be said of a rate; beyond one at the end of those tried, a better one may lie."""
    rates = sorted(other[RATE] for other in looks if _place(other) == _place(look))
    at_an_end = len(rates) > 1 and look[RATE] in (rates[0], rates[-1])
    return ("best*" if at_an_end else "best") if look in best else ""


def _records(looks: list[Look], names: list[str]) -> list[dict[str, Any]]:
    return [{name: look.get(name) for name in (*PLACE, RATE, *names, "run")} for look in looks]


if __name__ == "__main__":
    typer.run(main)
