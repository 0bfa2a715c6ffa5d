"""The stages of a script in one process: it starts once, tells how each ended, and is started again where it died."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ONCE = Path(__file__).parents[1] / "scripts" / "once.sh"
PYTHON = f'#!/bin/sh\necho "$$" >> starts\nexec {sys.executable} "$@"\n'
LOFIT = "#!/bin/sh\necho a process of its own >&2\nexit 99\n"


@pytest.fixture
def script(model_dir, workplace):
    """Run lines of a script that source `once.sh`; `$model` names the tiny model and the benchmark."""
    Path("bin").mkdir()
    for name, text in (("python", PYTHON), ("lofit", LOFIT)):
        Path("bin", name).write_text(text)
        Path("bin", name).chmod(0o755)
    settings = f"model=hub model.id={model_dir} model.dtype=float32 task=truthfulqa task.data_dir=data"
    environment = {**os.environ, "PATH": f"{Path('bin').resolve()}:{os.environ['PATH']}"}

    def start(*lines):
        text = "\n".join(["set -uo pipefail", f"source {ONCE}", f'model="{settings}"', *lines])
        return subprocess.Popen(
            ["bash", "-c", text], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip

    return start


def wait_until(is_so):
    deadline = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def starts():
    return Path("starts").read_text().split()


def said(process, returncode=0):
    out, err = process.communicate(timeout=300)
    assert process.returncode == returncode, err
    return out, err


def test_one_process_runs_all_stages(script):
    out, err = said(
        script(
            "once select-heads heads $model selector=random num_heads=2",
            "once train-offsets offsets $model head_mask=heads trainer.num_epochs=1",
            "once evaluate base $model intervention=none",
            "once evaluate base $model intervention=none",
        )
    )
    assert len(starts()) == 1
    assert all(Path(folder, "manifest.json").is_file() for folder in ("heads", "offsets", "base"))
    assert "MC1" in out
    assert "already finished: base" in err
    (number,) = starts()
    wait_until(lambda: not Path("/proc", number).exists())


def test_each_stage_has_its_own_exit_status(script):
    out, err = said(
        script(
            'once evaluate a $model intervention=nowhere; echo "status $?"',
            'once evaluate b $model intervention=none \'task.train_prompt="Q: {question}\\n A:"\'; echo "status $?"',
            'once evaluate c $model nothing=1; echo "status $?"',
        )
    )
    assert [line for line in out.splitlines() if line.startswith("status")] == ["status 2", "status 0", "status 2"]
    assert "intervention: run directory nowhere does not exist" in err
    assert len(starts()) == 1


def test_a_process_that_was_killed_is_started_again(script):
    out, _ = said(
        script(
            "once evaluate a $model intervention=none; kill -9 $process; wait $process 2> /dev/null",
            'once evaluate b $model intervention=none seed=1; echo "status $?"',
        )
    )
    assert "status 0" in out
    assert len(starts()) == 2


def test_a_process_that_can_not_start_fails_the_stage(script):
    Path("bin/python").write_text("#!/bin/sh\nexit 3\n")
    out, _ = said(script('once evaluate a $model intervention=none; echo "status $?"'))
    assert "status 1" in out


def test_an_interrupt_ends_the_stage_as_it_ends_one_of_its_own_process(script):
    process = script(
        "once train-offsets offsets $model method=bitfit trainer.num_epochs=100000; status=$?",
        '[ "$status" != 130 ] || exit 130',
    )
    while not Path("offsets/history.jsonl").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, err = said(process, 130)
    assert "lofit: interrupted; " in err
    assert "offsets keeps checkpoints" in err
    assert list(Path("offsets/checkpoints").iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_the_stage_stops_with_its_script(script, number):
    process = script("once train-offsets offsets $model method=bitfit trainer.num_epochs=100000")
    while not Path("offsets/history.jsonl").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    os.kill(process.pid, number)
    wait_until(lambda: Path("offsets/manifest.json").exists() and not Path("/proc", *starts()).exists())
    assert json.loads(Path("offsets/manifest.json").read_text())["status"] == "interrupted"
    assert list(Path("offsets/checkpoints").iterdir())
