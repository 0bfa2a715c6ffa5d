"""What the scripts for the paper's tables and figures would run, and how they take failures."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from composing import composer

from lofit_cli.hydra_app import conf_dir

SCRIPTS = Path(__file__).parents[1] / "scripts" / "reproduce"
NAMES = sorted(file.stem for file in SCRIPTS.glob("*.sh") if file.stem != "grid")
PLACES = re.compile(r"(hydra\.run\.dir|head_mask|intervention|task\.data_dir|task\.fold|seed)=")
"""Keys whose values need not be composed one by one."""

FAKE_LOFIT = """#!/usr/bin/env bash
echo "$*" >> calls
for argument in "$@"; do
  case $argument in hydra.run.dir=*) run_dir=${argument#*=} ;; esac
done
case $run_dir in *"$FAIL"*) exit 1 ;; esac
mkdir -p "$run_dir" && echo '{"status": "finished"}' > "$run_dir/manifest.json"
"""


def run(name, folder, *overrides, **environment):
    """Run a script in a folder whose bin/ comes first in PATH."""
    path = f"{folder}/bin:{os.environ['PATH']}"
    command = [str(SCRIPTS / f"{name}.sh"), *overrides]
    return subprocess.run(
        command, cwd=folder, env={"PATH": path, **environment}, capture_output=True, text=True, check=False
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


@pytest.fixture(scope="module")
def plans(tmp_path_factory):
    """What each script would run."""
    folder = tmp_path_factory.mktemp("plans")
    found = {name: plan(name, folder, "model.device=cpu") for name in NAMES}
    assert not list(folder.iterdir())
    return found


def test_every_command_composes(plans):
    commands = {
        (stage, *(o for o in overrides if not PLACES.match(o)))
        for made, _ in plans.values()
        for stage, overrides in made
    }
    with composer() as compose:
        for stage, *overrides in commands:
            assert compose(stage.replace("-", "_"), overrides)


@pytest.mark.parametrize("name", NAMES)
def test_a_dry_run_counts_what_is_to_do(name, plans):
    last = plans[name][1]
    assert re.fullmatch(r"# (\d+) runs: 0 finished, \1 to do", last)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"table1_2"}))
def test_no_run_directory_is_used_twice_and_none_before_it_is_made(name, tmp_path):
    commands, last = plan(name, tmp_path)
    made = set()
    for stage, overrides in commands:
        if stage == "compare":
            assert set(value(overrides, "runs").strip("[]").split(",")) == set(run_dirs(commands, "evaluate"))
            continue
        needed = [value(overrides, key) for key in ("head_mask", "intervention")]
        assert {folder for folder in needed if folder not in (None, "none")} <= made
        assert value(overrides, "hydra.run.dir") not in made
        made.add(value(overrides, "hydra.run.dir"))
    assert last.startswith(f"# {len(made)} runs")


@pytest.mark.parametrize("model", ["gemma_7b", "llama2_7b", "llama2_13b"])
def test_the_papers_models_have_an_experiment_for_each_run(model, tmp_path):
    for name in ("table1", "table2", "table3", "figure2", "figure4", "figure5"):
        commands, _ = plan(name, tmp_path, MODEL=model, SEEDS="1")
        for stage, overrides in commands:
            experiment = value(overrides, "experiment")
            if stage in ("select-heads", "train-offsets"):
                assert (conf_dir() / f"experiment/{experiment}.yaml").exists()
                assert experiment.startswith(f"{model}/")


def test_where_the_runs_of_table_1_lie(tmp_path):
    commands, _ = plan("table1", tmp_path, TASKS="truthfulqa clutrr", SEEDS="42 1", OUT="out")
    assert run_dirs(commands, "evaluate") == [
        f"out/smollm2/{fold}/{run}"
        for fold in ("truthfulqa-0", "truthfulqa-1", "clutrr-0")
        for run in (
            "eval-none",
            "seed-42/eval-iti",
            "seed-42/eval-repe",
            "seed-42/eval-lofit-scale",
            "seed-1/eval-lofit-scale",
        )
    ]
    heads = run_dirs(commands, "select-heads")
    assert heads[:3] == [f"out/smollm2/truthfulqa-0/{run}" for run in ("heads-probe", *seeds("heads-scale"))]
    offsets = run_dirs(commands, "train-offsets")
    assert offsets[:2] == [f"out/smollm2/truthfulqa-0/seed-42/offsets-{name}" for name in ("iti", "repe")]


def seeds(name):
    return [f"seed-42/{name}", f"seed-1/{name}"]


def test_figure_4_names_the_number_of_training_items(tmp_path):
    commands, _ = plan("figure4", tmp_path, SIZES="20", SEEDS="1", TASKS="clutrr")
    sized = [(stage, value(o, "task.num_train"), value(o, "hydra.run.dir")) for stage, o in commands]
    assert ("select-heads", "20", "runs/paper/smollm2/clutrr-0/seed-1/heads-scale-n20") in sized
    assert ("train-offsets", "20", "runs/paper/smollm2/clutrr-0/seed-1/offsets-lofit-scale-10-n20") in sized
    assert ("evaluate", None, "runs/paper/smollm2/clutrr-0/seed-1/eval-lora-n20") in sized


def test_data_settings_and_arguments_reach_the_commands(tmp_path):
    (tmp_path / "my data" / "clutrr").mkdir(parents=True)
    commands, _ = plan(
        "table1",
        tmp_path,
        "model.device=cpu",
        TASKS="mquake clutrr",
        DATA="my data",
        MODEL="llama2_7b_chat",
        SETTINGS="llama2_7b",
        DTYPE="bfloat16",
        TRAINING="trainer.num_epochs=1",
    )
    for stage, overrides in commands[:-1]:
        assert {"model=llama2_7b_chat", "model.dtype=bfloat16", "model.device=cpu"} <= set(overrides)
        is_clutrr = "/clutrr-0/" in value(overrides, "hydra.run.dir")
        assert value(overrides, "task.data_dir") == ("my data/clutrr" if is_clutrr else None)
        assert stage == "evaluate" or value(overrides, "experiment").startswith("llama2_7b/")
        assert ("trainer.num_epochs=1" in overrides) == (stage != "evaluate")


@pytest.mark.parametrize(
    ("says", "overrides", "environment"),
    [
        ("DATA=nowhere is not a folder", (), {"DATA": "nowhere"}),
        ("SETTINGS=lama is no folder of conf/experiment", (), {"SETTINGS": "lama"}),
        ("they name the folder", ("model.dtype=float16",), {}),
    ],
)
def test_settings_that_would_go_wrong_unnoticed_are_refused(says, overrides, environment, tmp_path):
    result = run("table1", tmp_path, *overrides, DRY="1", **environment)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("table1.sh: ")
    assert says in result.stderr


def test_judges_are_for_what_is_generated(tmp_path):
    commands, _ = plan("table4", tmp_path, JUDGE="allenai", SEEDS="1", FOLDS="0")
    assert {stage for stage, overrides in commands if "judge=allenai" in overrides} == {"evaluate"}
    assert all("judge=allenai" in overrides for stage, overrides in commands if stage == "evaluate")


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
    assert (made[-1][0], value(made[-1][1], "group_by")) == ("compare", "[method,num_heads]")


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
    assert last == "# 6 runs: 0 finished, 6 to do"


def test_ctrl_c_stops_the_script(workshop):
    (workshop / "bin" / "lofit").write_text("#!/bin/sh\necho $* >> calls\nexit 130\n")
    assert run("table1_2", workshop).returncode == 130
    assert len(calls(workshop)) == 1
