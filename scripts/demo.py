"""The whole job on the embedded model in one process: the base model, LoFiT on the heads it selects and on random heads.

python scripts/demo.py [KEY=VALUE ...]    overrides that all stages take, such as model=..., task=..., seed=...
TRAINING="KEY=VALUE ..." overrides what the two stages that train take, such as trainer.num_epochs=3.
OUT=runs/demo says where the runs go; what finished there is not run again.
"""

import csv
import os
import shlex
import sys
from pathlib import Path

import typer

from lofit_cli.artifacts.run_dir import is_finished
from lofit_cli.errors import UserError
from lofit_cli.hydra_app import run_stage

TASK = ["task=kinship", "task.num_train=150"]
SELECT = ["num_heads=8", "trainer.num_epochs=3"]
TRAIN = ["trainer.num_epochs=3"]


def run(stage: str, run_dir: Path, *overrides: str) -> None:
    """Run a stage into a directory unless it finished there."""
    if is_finished(run_dir, stage):
        typer.echo(f"already finished: {run_dir}", err=True)
        return
    typer.echo(f"lofit {stage.replace('_', '-')} {shlex.join([*overrides, f'hydra.run.dir={run_dir}'])}", err=True)
    run_stage(stage, [*overrides, f"hydra.run.dir={run_dir}"], multirun=False, config_dir=None)


def what_is_seen(comparison: Path) -> str:
    """Return the sentence below the table, whatever the numbers are."""
    base, scale, chance = csv.DictReader(comparison.open(encoding="utf-8"))
    return (
        f"Exact match on the test stories: {percent(base)} for the base model, {percent(scale)} with offsets on the "
        f"heads that LoFiT selects (p = {float(scale['em_p_holm']):.1g}), {percent(chance)} with offsets on heads drawn "
        f"at random (p = {float(chance['em_p_holm']):.1g})."
    )


def percent(row: dict[str, str]) -> str:
    """Return a row's exact match."""
    return f"{100 * float(row['em']):.1f} %"


def main() -> None:
    """Run what has not finished and compare."""
    out = Path(os.environ.get("OUT", "runs/demo"))
    common, training = [*TASK, *sys.argv[1:]], shlex.split(os.environ.get("TRAINING", ""))
    run("evaluate", out / "none", "intervention=none", *common)
    for selector in ("scale", "random"):
        heads, offsets = out / f"{selector}-heads", out / f"{selector}-offsets"
        run("select_heads", heads, f"selector={selector}", *SELECT, *common, *training)
        run("train_offsets", offsets, f"head_mask={heads}", *TRAIN, *common, *training)
        run("evaluate", out / selector, f"intervention={offsets}", *common)
    compared = out / "compare" / str(os.getpid())
    runs = ",".join(str(out / name) for name in ("none", "scale", "random"))
    run_stage("compare", [f"runs=[{runs}]", f"hydra.run.dir={compared}"], multirun=False, config_dir=None)
    typer.echo(what_is_seen(compared / "comparison.csv"))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        typer.echo(f"demo: {error}", err=True)
        sys.exit(error.exit_code)
