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
Point = tuple[str, float]
"""A method and its learning rate."""


def read_validation(runs: list[Path]) -> dict[Point, list[dict[str, float]]]:
    """Return the last line of each finished run's `validation.jsonl`, the runs of one method and rate together.

    Runs that learnt nothing step by step have none, and are left out.
    """
    found = defaultdict(list)
    for run in runs:
        if not is_finished(run, "train_offsets") or not (run / "validation.jsonl").exists():
            continue
        manifest = read_manifest(run, "train_offsets", "runs")
        last = json.loads((run / "validation.jsonl").read_text().splitlines()[-1])
        found[manifest["method"], manifest["config"]["trainer"]["learning_rate"]].append(last)
    return dict(sorted(found.items()))


def choose(points: dict[Point, list[dict[str, float]]], metric: str) -> set[Point]:
    """Return each method's best point by the mean of a metric: the lowest loss, or the highest of anything else."""
    sign = -1 if metric == "loss" else 1
    by_method = defaultdict(list)
    for point, looks in points.items():
        by_method[point[0]].append((sign * fmean(look[metric] for look in looks), point))
    return {max(scored)[1] for scored in by_method.values()}


def main(out: Path, runs: Runs, metric: Metric = None) -> None:
    """Show the validation split's loss and metrics at each rate, and mark each method's best."""
    points = read_validation(runs)
    if not points:
        typer.echo("tune: none of these runs has finished", err=True)
        raise typer.Exit(1)
    names = [name for name in next(iter(points.values()))[0] if name != "epoch"]
    metric = metric or ("mc2" if "mc2" in names else "loss")
    if metric not in names:
        typer.echo(f"tune: --metric {metric} was not measured; {did_you_mean(metric, names)}", err=True)
        raise typer.Exit(2)
    best = choose(points, metric)
    records, lines = [], []
    for (method, rate), looks in points.items():
        means = {name: fmean(look[name] for look in looks) for name in names}
        records.append({"method": method, "learning_rate": rate, "num_runs": len(looks), **means})
        cells = [f"{means[name]:.3f}" if name == "loss" else f"{100 * means[name]:.1f}" for name in names]
        lines.append([method, f"{rate:g}", *cells, "best" if (method, rate) in best else ""])
    headers = ["method", "learning rate", *(name if name == "loss" else name.upper() for name in names), ""]
    note = f"validation split after training, mean over folds; best by {metric}"
    write_table(TextTable("Learning rates", headers, lines, note), records, out, "tune")


if __name__ == "__main__":
    typer.run(main)
