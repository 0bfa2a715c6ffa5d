"""Every YAML file under conf/ composes, and says at its top how to use it."""

from pathlib import Path

import pytest

from lofit_cli.hydra_app import compose_yaml, conf_dir

STAGES = ("select_heads", "train_offsets", "evaluate")
GROUPS = {"selector": "select_heads", "method": "train_offsets", "judge": "evaluate"}
OPTIONS = sorted(file.relative_to(conf_dir()) for file in conf_dir().glob("*/*.yaml"))


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_option_composes_in_each_stage_that_has_its_group(option):
    group, name = option.parent.name, option.stem
    for stage in [GROUPS[group]] if group in GROUPS else STAGES:
        needed = ["model.id=some/model"] if option.match("model/hub.yaml") else []
        assert compose_yaml(stage, [f"{group}={name}", *needed], None)


@pytest.mark.parametrize("stage", [*STAGES, "compare"])
def test_stage_composes_without_arguments(stage):
    assert "runs_dir: runs" in compose_yaml(stage, [], None)


def test_every_file_opens_with_its_command():
    for file in conf_dir().rglob("*.yaml"):
        head = [line for line in file.read_text().splitlines() if not line.startswith("# @package")]
        assert "lofit " in head[0], file


def test_a_config_dir_of_ones_own_adds_options(tmp_path):
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "mine.yaml").write_text("name: misconceptions\ntrain_prompt: 'Question: {question}'\n")
    assert "Question: {question}" in compose_yaml("select_heads", ["task=mine"], str(tmp_path))


def test_conf_is_beside_the_package_in_a_checkout():
    assert conf_dir() == Path(__file__).parents[1] / "conf"
