"""What tests that run whole stages share: short training, and what a run left behind."""

import json
from pathlib import Path

FAST = ("trainer.num_epochs=2", "trainer.batch_size=4")


def ok(result):
    assert result.exit_code == 0, result.output + result.stderr
    return result


def only_run(stage):
    (run_dir,) = Path("runs", stage).iterdir()
    return run_dir


def manifest(run_dir):
    return json.loads(Path(run_dir, "manifest.json").read_text())


def unseal(run_dir):
    """Take the checksums out of a finished run's manifest, so that what is changed after it is read as it is."""
    about = manifest(run_dir)
    kept = {key: value for key, value in about.items() if key not in ("checksum", "file_hashes")}
    Path(run_dir, "manifest.json").write_text(json.dumps(kept))


def lines(file):
    return [json.loads(line) for line in Path(file).read_text().splitlines()]
