"""How near `--plan` comes: plans a stage, runs it, and prints what was said, what was measured, and their ratios.

python scripts/plan_check.py --repeats 3
python scripts/plan_check.py --repeats 1 model=hub model.id=FOLDER model.dtype=bfloat16 task.num_train=8

Other work on the same cores moves single ratios, so the last lines are medians; `--cpu` counts a core's own seconds.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from lofit_cli.artifacts.provenance import reset_peak_memory
from lofit_cli.hydra_app import run_stage
from lofit_cli.hydra_config import as_typed, compose, register_schemas, to_dataclass

SMALL = ("task.num_train=32", "trainer.num_epochs=3")
STAGES = {
    "select_heads": SMALL,
    "train_offsets": (*SMALL, "head_mask={folder}/select_heads"),
    "evaluate": ("intervention={folder}/train_offsets",),
}
"""Stage -> its settings; a run of the embedded model takes about a minute on two cores."""

Overrides = Annotated[list[str] | None, typer.Argument()]


def plan(stage: str, overrides: list[str], run_dir: Path) -> dict[str, float]:
    """Return what a stage is planned to take: seconds and bytes."""
    register_schemas()
    settings = to_dataclass(compose(stage, as_typed(stage, overrides, False, None), None))
    reset_peak_memory()
    made = getattr(import_module(f"lofit_cli.stages.{stage}"), f"plan_{stage}")(settings)
    return {"seconds": made.seconds, "bytes": made.memory["memory"]}


def measure(stage: str, overrides: list[str], run_dir: Path) -> dict[str, float]:
    """Run a stage and return the same of it."""
    run_stage(stage, [*overrides, "force=true", f"hydra.run.dir={run_dir}"])
    found = json.loads((run_dir / "manifest.json").read_text())
    return {"seconds": found["wall_seconds"], "bytes": found["peak_memory_bytes"]}


def in_own_process(what: str, stage: str, overrides: list[str], run_dir: Path, cpu: bool) -> dict[str, float]:
    """Plan or measure a stage in a process of its own, whose memory is its own as well."""
    job = json.dumps([what, stage, overrides, str(run_dir), cpu])
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1"} if cpu else os.environ
    ended = subprocess.run(
        [sys.executable, __file__, "--job", job], check=True, capture_output=True, text=True, env=surroundings
    )
    return json.loads(ended.stdout.splitlines()[-1])


def do(job: str) -> None:
    """Do what another process of this script asks for, and print what came out as JSON."""
    what, stage, overrides, run_dir, cpu = json.loads(job)
    if cpu:
        time.perf_counter = time.process_time
    typer.echo(json.dumps({"plan": plan, "measure": measure}[what](stage, overrides, Path(run_dir))))


def main(overrides: Overrides = None, repeats: int = 3, cpu: bool = False, job: str = "") -> None:
    """Plan and run each stage so many times.

    Args:
        overrides: settings of all three stages.
        cpu: count the seconds of one core that each process has had, which other work on the cores does not add to.
        job: what one process of this script asks another one for.
    """
    if job:
        do(job)
        return
    ratios: dict[tuple[str, str], list[float]] = {}
    for repeat in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            for stage, own in STAGES.items():
                settings = [setting.format(folder=folder) for setting in own] + (overrides or [])
                given = stage, settings, Path(folder, stage), cpu
                said, found = (in_own_process(what, *given) for what in ("plan", "measure"))
                for key, value in said.items():
                    ratios.setdefault((stage, key), []).append(value / found[key])
                    typer.echo(f"run {repeat + 1}, {stage}: {key} planned {value:.4g}, measured {found[key]:.4g}")
    for (stage, key), values in ratios.items():
        typer.echo(f"{stage}: {key} planned / measured, median of {len(values)}: {statistics.median(values):.2f}")


if __name__ == "__main__":
    typer.run(main)
