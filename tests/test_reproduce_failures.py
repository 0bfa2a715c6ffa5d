"""How the scripts for the paper's tables and figures take failures, and what they test after tuning."""

from pathlib import Path

import pytest
from reproducing import plan, run, run_dirs, value

FAKE_LOFIT = """#!/usr/bin/env bash
echo "$*" >> calls
for argument in "$@"; do
  case $argument in hydra.run.dir=*) run_dir=${argument#*=} ;; esac
done
case $run_dir in *"$FAIL"*) exit 1 ;; esac
mkdir -p "$run_dir" && echo '{"status": "finished"}' > "$run_dir/manifest.json"
"""


@pytest.fixture
def workshop(tmp_path):
    """A folder in which `lofit` notes its arguments and finishes, but for what FAIL names."""
    (tmp_path / "bin").mkdir()
    for name, text in (("lofit", FAKE_LOFIT), ("python", "#!/bin/sh\nexit 1\n")):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def calls(workshop):
    lines = [line.split() for line in (workshop / "calls").read_text().splitlines()]
    (workshop / "calls").unlink()
    return [(stage, overrides) for stage, *overrides in lines]


def test_a_failed_run_stops_only_what_is_built_on_it(workshop):
    options = {"TASKS": "clutrr", "SEEDS": "1", "FAIL": "offsets-lora"}
    result = run("table3", workshop, **options)
    assert result.returncode == 1
    assert result.stderr.endswith("failed:\nruns/paper/smollm2/clutrr-0/seed-1/offsets-lora\n")
    made = calls(workshop)
    names = [Path(folder).name for folder in run_dirs(made, "evaluate")]
    assert names == ["eval-none", "eval-lofit-scale-10", "eval-red", "eval-red-upper_half", "eval-loreft"]
    assert made[-1][0] == "compare"
    assert [Path(folder).name for folder in value(made[-1][1], "runs").strip("[]").split(",")] == names

    assert plan("table3", workshop, **options)[1] == "# 12 runs: 10 finished, 2 to do"
    assert run("table3", workshop, **(options | {"FAIL": "nothing"})).returncode == 0
    assert [stage for stage, _ in calls(workshop)] == ["train-offsets", "evaluate", "compare"]


def test_a_selection_that_failed_is_not_tried_again(workshop):
    result = run("figure5", workshop, TASKS="clutrr", SEEDS="1", FAIL="heads-scale")
    assert result.returncode == 1
    assert [stage for stage, _ in calls(workshop)] == ["evaluate", "select-heads", "compare"]


def test_a_task_that_is_none_is_refused_before_anything_runs(workshop):
    result = run("table3", workshop, TASKS="clutrr clutr", SEEDS="1", FAIL="nothing")
    assert (result.returncode, result.stderr) == (2, "table3.sh: TASKS: clutr is none of conf/task\n")
    assert not (workshop / "calls").exists()


def test_a_figure_that_failed_is_named(workshop):
    result = run("figure3", workshop, TASKS="clutrr", SEEDS="1", FAIL="nothing")
    assert result.returncode == 1
    assert result.stderr.endswith("failed:\nfigure3.py\n")


@pytest.fixture
def looks(workshop):
    """A workshop in which the best rate of fold 0 is 1e-2, that of fold 1 1e-3, and no other can be looked at."""
    (workshop / "bin" / "python").write_text(
        '#!/bin/sh\nmkdir -p $2\nprintf "%s\\n" "$@" | sed -E "s|[.]/|/|; s|//+|/|g" |'
        " grep -e qa-0.*lora-1e-2 -e qa-1.*lora-1e-3 > $2/best.txt\n"
    )
    return workshop


TUNING = {"SEEDS": "1", "TUNED": "lora", "RATES": "1e-3 1e-2", "FAIL": "nothing"}


@pytest.mark.parametrize("out", ["runs/paper", "./new//folder/"])
def test_what_was_tuned_is_tested_at_each_folds_best_rate(looks, out):
    assert run("tune", looks, OUT=out, **TUNING).returncode == 0
    assert "evaluate" not in {stage for stage, _ in calls(looks)}

    assert run("tune", looks, TEST="1", OUT=out, **TUNING).returncode == 0
    made = calls(looks)
    scored = [(value(o, "hydra.run.dir"), Path(value(o, "intervention")).name) for _, o in made[:-1]]
    assert [("qa-0" in run_dir, Path(run_dir).name, name) for run_dir, name in scored] == [
        (True, "eval-none", "none"),
        (True, "eval-tune-lora-1e-2", "tune-lora-1e-2"),
        (False, "eval-none", "none"),
        (False, "eval-tune-lora-1e-3", "tune-lora-1e-3"),
    ]
    assert (made[-1][0], value(made[-1][1], "group_by")) == ("compare", "[label]")


def test_rates_that_were_not_looked_at_are_not_tested(looks):
    assert run("tune", looks, **TUNING).returncode == 0
    calls(looks)
    (looks / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
    result = run("tune", looks, TEST="1", **(TUNING | {"FOLDS": "0"}))
    assert (result.returncode, "tune-lora-*: no rate has been looked at" in result.stderr) == (1, True)
    assert [stage for stage, _ in calls(looks)] == ["evaluate", "compare"]


def test_a_dry_run_says_that_the_best_are_tested(looks):
    _, last = plan("tune", looks, TEST="1", **TUNING)
    result = run("tune", looks, DRY="1", TEST="1", **TUNING)
    assert "# evaluate the best of runs/paper/smollm2/truthfulqa-1/seed-1/tune-lora-*" in result.stdout.splitlines()
    assert last == "# 6 runs: 0 finished, 6 to do, and 2 whose settings depend on these"


def test_ctrl_c_stops_the_script(workshop):
    (workshop / "bin" / "lofit").write_text("#!/bin/sh\necho $* >> calls\nexit 130\n")
    assert run("table1_2", workshop).returncode == 130
    assert len(calls(workshop)) == 1


def test_neighbours_choose_a_rate_in_each_task_and_are_trained_again_at_it(workshop):
    first_rate, second_rate = "$3", "$4"
    (workshop / "bin" / "python").write_text(
        f'#!/bin/sh\nmkdir -p "$2"\ncase $2 in *mquake*) echo "{first_rate}" ;; *) echo "{second_rate}" ;; esac'
        ' > "$2/best.txt"\n'
    )
    options = {"TASKS": "mquake truthfulqa", "SEEDS": "42 1", "RATES": "1e-3 1e-2", "FAIL": "nothing"}
    choice = {"TUNED": "lofit_3", "FITTED": "proxy", "SECOND": "lofit_3", "SWAPPED": "lofit_3"}
    assert run("neighbours", workshop, **options, **choice).returncode == 0
    made = calls(workshop)
    for task, rate in (("mquake", "1e-3"), ("truthfulqa", "1e-2")):
        trained = {Path(value(o, "hydra.run.dir")): o for _, o in made if f"/{task}-0/" in value(o, "hydra.run.dir")}
        best = f"runs/paper/smollm2/{task}-0/seed-42/tune-lofit_3-{rate}"
        folder = Path(best).parents[1]
        assert value(trained[folder / "seed-42" / f"eval-tune-lofit_3-{rate}"], "intervention") == best
        assert value(trained[folder / "seed-42" / "offsets-proxy"], "method.source") == best
        assert (folder / "seed-42" / "offsets-lofit_3-swapped" in trained) == (task == "truthfulqa")
        for name in ("seed-1/offsets-lofit_3", "seed-42/offsets-lofit_3-swapped"):
            assert value(trained.get(folder / name, []), "trainer.learning_rate") in (rate, None)
        assert [value(trained[Path(d)], "label") for d in (best, folder / "seed-1/offsets-lofit_3")] == ["lofit_3"] * 2
        assert folder / "seed-42" / "offsets-lofit_3" not in trained
