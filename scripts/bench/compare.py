"""How long a comparison of many runs takes: 200 made-up evaluate runs of three tasks, two folds and three seeds.

python scripts/bench/compare.py
"""

import sys
import tempfile
import time
from pathlib import Path

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "helpers"))

from synthetic_runs import METHODS, write_run, write_runs

from lofit_cli.artifacts.run_dir import start_run
from lofit_cli.schema.stages import CompareConfig
from lofit_cli.stages.compare import compare


def main(repeats: int = 3, keep: Path | None = None) -> None:
    """Time the stage, with tables, figures and the report; `--keep FOLDER` keeps what it wrote."""
    with tempfile.TemporaryDirectory() as temporary:
        root = keep or Path(temporary)
        count = write_runs(root / "runs")
        # Two runs of a fourth row that has one fold and seed only bring the number to 200.
        for fold in (0, 1):
            write_run(root / "runs" / f"one-seed-{fold}", "mquake", fold, 5, (*METHODS[-1][:3], {"method.rank": 1}))
        for repeat in range(repeats):
            config = CompareConfig(runs=[str(root / "runs")])
            start = time.perf_counter()
            with start_run(root / f"compare-{repeat + 1}", "compare", config) as run:
                compare(config, run)
            typer.echo(
                f"run {repeat + 1}: {count + 2} run directories in {time.perf_counter() - start:.1f} s", err=True
            )


if __name__ == "__main__":
    typer.run(main)
