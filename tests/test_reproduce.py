"""What the scripts for the paper's tables and figures would run."""

import re

import pytest
from composing import composer
from reproducing import SCRIPTS, plan, run, run_dirs, value

from lofit_cli.hydra_config import conf_dir

NAMES = sorted(file.stem for file in SCRIPTS.glob("*.sh") if file.stem != "grid")
PLACES = re.compile(r"(hydra\.run\.dir|head_mask|intervention|task\.data_dir|task\.fold|seed)=")
"""Keys whose values need not be composed one by one."""


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
    assert re.fullmatch(r"# (\d+) runs: 0 finished, \1 to do(, and \d+ whose settings depend on these)?", last)


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
