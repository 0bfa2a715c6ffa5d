"""What is typed for a key of text reaches the stage letter for letter."""

from pathlib import Path

import hydra
import pytest
import yaml

from lofit_cli.errors import UserError
from lofit_cli.hydra_config import compose_yaml, conf_dir
from lofit_cli.hydra_outcomes import Outcomes
from lofit_cli.hydra_overrides import keep_texts


def data_dir(typed):
    return yaml.safe_load(compose_yaml("select_heads", [f"task.data_dir={typed}"], None))["task"]["data_dir"]


@pytest.mark.parametrize(
    "typed",
    [
        "2024_11",
        "007",
        "1e5",
        "0x1f",
        "true",
        "nan",
        "données/é",
        "a[1]",
        "a (copy)",
        "a{b}",
        "it's",
        "a\\",
        "a=b",
        "100%",
    ],
)
def test_a_folder_stays_as_typed(typed):
    assert data_dir(typed) == typed


def test_a_tilde_is_the_home_folder():
    assert data_dir("~/data_1") == str(Path.home() / "data_1")
    assert data_dir("~") == str(Path.home())


def test_quotation_marks_null_and_interpolations_keep_their_meaning():
    assert data_dir("'~/x'") == "~/x"
    assert data_dir("null") is None
    assert data_dir("${runs_dir}/x") == "runs/x"


@pytest.fixture(scope="module")
def base():
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield hydra.compose("compare")


@pytest.mark.parametrize(
    ("typed", "is_sweep", "kept"),
    [
        ("runs=[runs/2024_11,~/b]", False, f"runs=['runs/2024_11','{Path.home()}/b']"),
        ("runs=[2024_11]", False, "runs=['2024_11']"),
        ("runs=[runs/a,runs/b]", False, "runs=[runs/a,runs/b]"),
        ("baseline=2024_11,2024_12", True, "baseline='2024_11','2024_12'"),
        ("baseline=2024_11,2024_12", False, "baseline='2024_11,2024_12'"),
        ("runs=[runs/d(p),runs/e]", False, "runs=['runs/d(p)','runs/e']"),
        ("seed=1_000", False, "seed=1_000"),
        ("hydra.run.dir=runs/é", False, "hydra.run.dir='runs/é'"),
        ("baseline", False, "baseline"),
    ],
)
def test_only_what_would_be_lost_is_put_in_quotation_marks(base, typed, is_sweep, kept):
    assert keep_texts([typed], base, is_sweep) == [kept]


def test_the_first_failure_of_any_process_is_raised(tmp_path):
    outcomes = Outcomes(tmp_path)
    outcomes.add(0, tmp_path / "a")
    assert outcomes.require_success(1) == [tmp_path / "a"]
    with pytest.raises(UserError, match="1 of 2 points did not end"):
        outcomes.require_success(2)
    outcomes.add(1, tmp_path / "b", UserError("no such file"))
    with pytest.raises(UserError, match="no such file") as error:
        outcomes.require_success(2)
    assert error.value.exit_code == 2


RUNS_CODE = {
    "callbacks": "callbacks:\n    mine:\n      _target_: builtins.print\n",
    "job_logging": "job_logging:\n    version: 1\n    handlers:\n      mine:\n        (): builtins.print\n",
    "launcher": "launcher:\n    _target_: builtins.print\n",
    "sweeper": "sweeper:\n    _target_: builtins.print\n",
    "job.env_set": "job:\n    env_set:\n      LD_PRELOAD: mine.so\n",
}


@pytest.mark.parametrize("key", RUNS_CODE)
def test_a_yaml_file_that_names_code_is_refused(tmp_path, key):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\nhydra:\n  {RUNS_CODE[key]}")
    with pytest.raises(UserError, match=f"a YAML file sets hydra.{key}, which could run code"):
        compose_yaml("evaluate", ["experiment=mine"], str(tmp_path))


def test_a_yaml_file_may_say_where_runs_go(tmp_path):
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\nseed: 7\nhydra:\n  run:\n    dir: elsewhere\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    assert "seed: 7" in compose_yaml("evaluate", ["experiment=mine"], str(tmp_path))
