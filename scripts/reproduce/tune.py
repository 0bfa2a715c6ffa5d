"""Learning rates side by side, by what the last look at the validation split said (scripts/reproduce/tune.sh).

python scripts/reproduce/tune.py runs/paper/smollm2/tune runs/paper/smollm2/truthfulqa-*/seed-42/tune-* --metric mc1
"""

import json
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Annotated

import typer

from lofit_cli.artifacts.run_dir import is_finished, read_manifest
from lofit_cli.errors import did_you_mean
from lofit_cli.report.table_files import TextTable, write_table

Runs = Annotated[list[Path], typer.Argument(help="Finished train-offsets runs; others are left out.")]
Metric = Annotated[str | None, typer.Option(help="What the best rate is best by: MC2 where it is measured, or loss.")]
Point = tuple[str, str, float]
"""A task, a method with how many heads it has, and its learning rate."""


def read_validation(runs: list[Path]) -> dict[Point, list[dict[str, float]]]:
    """Return the last line of each finished run's `validation.jsonl`, those that differ in fold only together.

    Runs that learnt nothing step by step have none, and are left out.
    """
    found = defaultdict(list)
    for run in runs:
        if not is_finished(run, "train_offsets") or not (run / "validation.jsonl").exists():
            continue
        manifest = read_manifest(run, "train_offsets", "runs")
        last = json.loads((run / "validation.jsonl").read_text().splitlines()[-1])
        heads = f" ({manifest['num_heads']} heads)" if manifest.get("num_heads") else ""
        rate = manifest["config"]["trainer"]["learning_rate"]
        found[manifest["task"], manifest["method"] + heads, rate].append(last)
    return dict(sorted(found.items()))


def choose(points: dict[Point, list[dict[str, float]]], metric: str) -> set[Point]:
    """Return the best point of each method on each task: the lowest loss, or the highest of another metric."""
    sign = -1 if metric == "loss" else 1
    tried = defaultdict(list)
    for point, looks in points.items():
        tried[point[:2]].append((sign * fmean(look[metric] for look in looks), point))
    return {max(scored)[1] for scored in tried.values()}


def main(out: Path, runs: Runs, metric: Metric = None) -> None:
    """Show the validation split's loss and metrics at each rate, and mark each method's best."""
    points = read_validation(runs)
    if not points:
        typer.echo("tune: none of these runs has finished", err=True)
        raise typer.Exit(1)
    measured = [look for looks in points.values() for look in looks]
    names = [name for name in measured[0] if name != "epoch" and all(name in look for look in measured)]
    metric = metric or ("mc2" if "mc2" in names else "loss")
    if metric not in names:
        typer.echo(f"tune: --metric {metric} was not measured; {did_you_mean(metric, names)}", err=True)
        raise typer.Exit(2)
    best = choose(points, metric)
    records, lines = [], []
    for (task, method, rate), looks in points.items():
        means = {name: fmean(look[name] for look in looks) for name in names}
        records.append({"task": task, "method": method, "learning_rate": rate, "num_runs": len(looks), **means})
        cells = [f"{means[name]:.3f}" if name == "loss" else f"{100 * means[name]:.1f}" for name in names]
        lines.append([task, method, f"{rate:g}", *cells, "best" if (task, method, rate) in best else ""])
    headers = ["task", "method", "learning rate", *(name if name == "loss" else name.upper() for name in names), ""]
    note = f"validation split after training, mean over folds; best by {metric}"
    write_table(TextTable("Learning rates", headers, lines, note), records, out, "tune")


if __name__ == "__main__":
    typer.run(main)
