"""The whole job on the embedded model in one process: the base model, LoFiT on heads that it selects and on random ones.

python scripts/demo.py [KEY=VALUE ...]    overrides that all stages take, such as model=..., task=..., seed=...
TRAINING="KEY=VALUE ..." overrides what the two stages that train take, such as trainer.num_epochs=3.
OUT=runs/demo says where the runs go; what finished there is not run again.
"""

import csv
import os
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

import typer

from lofit_cli import cli
from lofit_cli.artifacts.run_dir import is_finished

STAGES = {"select-heads": cli.select_heads, "train-offsets": cli.train_offsets, "evaluate": cli.evaluate}


def once(stage: str, run_dir: Path, *overrides: str) -> None:
    """Run a stage into a directory unless it finished there; a failure ends the demo as it would end the stage."""
    if is_finished(run_dir, stage.replace("-", "_")):
        typer.echo(f"already finished: {run_dir}", err=True)
        return
    arguments = [*overrides, f"hydra.run.dir={run_dir}"]
    typer.echo(f"lofit {stage} {shlex.join(arguments)}", err=True)
    STAGES[stage](arguments)


def what_is_seen(comparison: Path) -> str:
    """Return the sentence below the table, whatever the numbers are."""
    with comparison.open(encoding="utf-8") as lines:
        base, *others = csv.DictReader(lines)
    metric = next(name for name in base if f"{name}_p_holm" in base)
    found = [f"{percent(row, metric)} with {row['row']} (p = {float(row[f'{metric}_p_holm']):.2g})" for row in others]
    return f"{metric.upper()} on the test questions: {percent(base, metric)} for the base model, {', '.join(found)}."


def percent(row: dict[str, str], metric: str) -> str:
    """Return a row's mean."""
    return f"{100 * float(row[metric]):.1f} %"


def main() -> None:
    """Run what has not finished and compare."""
    out = Path(os.environ.get("OUT", "runs/demo"))
    common, training = sys.argv[1:], shlex.split(os.environ.get("TRAINING", ""))
    once("evaluate", out / "none", "intervention=none", *common)
    for selector in ("scale", "random"):
        heads, offsets = out / f"{selector}-heads", out / f"{selector}-offsets"
        once("select-heads", heads, f"selector={selector}", *training, *common)
        once("train-offsets", offsets, f"head_mask={heads}", *training, *common)
        once("evaluate", out / selector, f"intervention={offsets}", *common)
    compared = out / "compare" / f"{datetime.now(UTC):%Y-%m-%d_%H-%M-%S-%f}"
    runs = ",".join(str(out / name) for name in ("none", "scale", "random"))
    cli.compare([f"runs=[{runs}]", f"hydra.run.dir={compared}"])
    typer.echo(what_is_seen(compared / "comparison.csv"))


if __name__ == "__main__":
    main()
