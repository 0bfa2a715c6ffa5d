"""Running the scripts for the paper's tables and figures, and reading what they would run."""

import os
import shlex
import subprocess
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "scripts" / "reproduce"


def run(name, folder, *overrides, **environment):
    """Run a script in a folder whose bin/ comes first in PATH."""
    path = f"{folder}/bin:{os.environ['PATH']}"
    command = [str(SCRIPTS / f"{name}.sh"), *overrides]
    return subprocess.run(
        command,
        cwd=folder,
        env={"PATH": path, "LOFIT_CACHE_GB": "0", "ONE_PROCESS": "0", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def plan(name, folder, *overrides, **environment):
    """Return the commands that a script would run, as (stage, overrides), and its last line."""
    result = run(name, folder, *overrides, DRY="1", **environment)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("lofit ")]
    return [(stage, overrides) for stage, *overrides in commands], lines[-1]


def value(overrides, key):
    return next((text.removeprefix(f"{key}=") for text in overrides if text.startswith(f"{key}=")), None)


def run_dirs(commands, stage):
    return [value(overrides, "hydra.run.dir") for planned, overrides in commands if planned == stage]
