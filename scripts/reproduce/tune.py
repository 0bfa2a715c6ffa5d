"""Learning rates side by side, by what the last look at the validation split said (scripts/reproduce/tune.sh).

python scripts/reproduce/tune.py runs/paper/smollm2/tune runs/paper/smollm2/truthfulqa-*/seed-42/tune-* --metric mc1
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from lofit_cli.artifacts.run_dir import is_finished, read_manifest
from lofit_cli.errors import did_you_mean
from lofit_cli.report.table_files import TextTable, write_table

VALIDATION = "validation.jsonl"
RATE = "learning_rate"
PLACE = ("task", "fold", "method", RATE)

Runs = Annotated[list[Path], typer.Argument(help="Finished train-offsets runs; others are left out.")]
Metric = Annotated[str | None, typer.Option(help="What the best rate is best by: MC2 where it is measured, or loss.")]
Look = dict[str, Any]
"""A finished run: its task, fold, method and learning rate, and what the validation split said at its end."""


def read_looks(runs: list[Path]) -> list[Look]:
    """Return a look for each finished run; those that learnt nothing step by step have none."""
    return [_read_look(run) for run in runs if is_finished(run, "train_offsets") and (run / VALIDATION).exists()]


def _read_look(run: Path) -> Look:
    manifest = read_manifest(run, "train_offsets", "runs")
    heads = f" ({manifest['num_heads']} heads)" if manifest.get("num_heads") else ""
    found = {"task": manifest["task"], "fold": manifest["fold"], "method": manifest["method"] + heads}
    found[RATE] = manifest["config"]["trainer"]["learning_rate"]
    last: Look = json.loads((run / VALIDATION).read_text().splitlines()[-1])
    return found | last


def is_best(look: Look, looks: list[Look], metric: str) -> bool:
    """Return whether no other rate of its task, fold and method is better: a lower loss, or more of another metric.

    Folds have a best rate each, because one fold's validation questions are test questions of the other.
    """
    rivals = [other[metric] for other in looks if all(other[key] == look[key] for key in ("task", "fold", "method"))]
    best: float = min(rivals) if metric == "loss" else max(rivals)
    return bool(look[metric] == best)


def main(out: Path, runs: Runs, metric: Metric = None) -> None:
    """Show the validation split's loss and metrics at each rate, and mark the best of each task, fold and method."""
    looks = sorted(read_looks(runs), key=lambda look: [str(look["task"]), look["fold"], look["method"], look[RATE]])
    if not looks:
        typer.echo("tune: none of these runs has finished", err=True)
        raise typer.Exit(1)
    names = [name for name in looks[0] if name not in (*PLACE, "epoch") and all(name in look for look in looks)]
    metric = metric or ("mc2" if "mc2" in names else "loss")
    if metric not in names:
        typer.echo(f"tune: --metric {metric} was not measured; {did_you_mean(metric, names)}", err=True)
        raise typer.Exit(2)
    lines = []
    for look in looks:
        cells = [f"{look[name]:.3f}" if name == "loss" else f"{100 * look[name]:.1f}" for name in names]
        place = [str(look["task"]), str(look["fold"]), look["method"], f"{look[RATE]:g}"]
        lines.append([*place, *cells, "best" if is_best(look, looks, metric) else ""])
    headers = ["task", "fold", "method", "rate", *(name if name == "loss" else name.upper() for name in names), ""]
    note = f"validation split after training; best by {metric}"
    write_table(
        TextTable("Learning rates", headers, lines, note),
        [{k: look[k] for k in (*PLACE, *names)} for look in looks],
        out,
        "tune",
    )


if __name__ == "__main__":
    typer.run(main)
