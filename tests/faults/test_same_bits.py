"""The same command gives the same bytes on as many threads; on others the last bits may differ, as stated."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from children import in_child, invoke
from fault_stages import content
from safetensors.torch import load_file
from stage_runs import manifest

CLOSE = 1e-4
"""How far a log-probability in nats, or an offset, may move where sums are added up in another order."""


def run_on(num_threads, words):
    torch.set_num_threads(num_threads)
    return invoke(words)[0]


def numbers(folder):
    """Return the numbers that a run has made."""
    if (folder / "predictions.parquet").exists():
        rows = pq.read_table(folder / "predictions.parquet")["log_probs"].to_pylist()
        return [torch.tensor(row) for row in rows]
    return list(load_file(folder / "intervention.safetensors").values())


@pytest.mark.parametrize("name", ["lofit", "answers"])
def test_as_many_threads_give_the_same_bytes_and_others_the_same_numbers(command, name):
    for place, num_threads in (("one", 1), ("two", 2), ("again", 2)):
        assert in_child(run_on, num_threads, command(name, place)) == 0
    one, two, again = (Path(f"runs/{place}/x") for place in ("one", "two", "again"))
    assert content(two) == content(again)
    torch.testing.assert_close(numbers(one), numbers(two), rtol=0, atol=CLOSE)
    assert [manifest(folder)["num_threads"] for folder in (one, two, again)] == [1, 2, 2]


@pytest.mark.slow
def test_processes_of_their_own_give_the_same_bytes(command):
    for place, hash_seed in (("first", "1"), ("second", "2")):
        environment = os.environ | {"OMP_NUM_THREADS": "2", "PYTHONHASHSEED": hash_seed}
        words = [sys.executable, "-m", "lofit_cli", *command("lofit", place)]
        done = subprocess.run(words, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert content(Path("runs/first/x")) == content(Path("runs/second/x"))


def test_the_manifest_states_what_the_last_bits_depend_on(command):
    for folder in ("runs/made", "runs/a"):
        about = manifest(folder)
        assert about["num_threads"] == torch.get_num_threads()
        assert about["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
        assert about["versions"]["torch"] == torch.__version__
