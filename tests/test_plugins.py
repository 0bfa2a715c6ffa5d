"""Packages that add to lofit: the one of docs/extending.md as a wheel, and what can be wrong with one."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from tiny_models import build_model, build_tokenizer

from lofit_cli import plugins
from lofit_cli.errors import UserError
from lofit_cli.methods import METHODS
from lofit_cli.plugins import find_plugins, look_up

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
IN_TURN = """
import json, sys
from lofit_cli.cli import app
for words in json.loads(sys.argv[1]):
    try:
        app(words)
    except SystemExit as end:
        if end.code:
            raise
"""


def files_of_the_page():
    """Return the files that the page shows, each named above its block."""
    return dict(re.findall(r"^`([\w./]+)`\n\n```\w+\n(.*?)```$", PAGE.read_text(), re.M | re.S))


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder in which the page's plugin is installed from a wheel."""
    source, place = tmp_path_factory.mktemp("plugin"), tmp_path_factory.mktemp("site")
    for name, text in files_of_the_page().items():
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text(text)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    quiet = ("--no-deps", "--no-build-isolation", "--no-index")
    subprocess.run([*pip, "wheel", *quiet, "-w", source / "dist", source], check=True)
    (wheel,) = (source / "dist").glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", place, wheel], check=True)
    return place


def test_the_plugin_of_the_page_is_short_and_works_in_the_four_commands(installed, tmp_path):
    assert sum(len(text.splitlines()) for text in files_of_the_page().values()) < 60
    build_model("llama").save_pretrained(tmp_path / "model")
    build_tokenizer().save_pretrained(tmp_path / "model")
    path = os.pathsep.join([str(installed), str(PAGE.parents[1])])
    model = ["model=hub", f"model.id={tmp_path / 'model'}", "model.dtype=float32"]
    (shown,) = re.findall(r"After `pip install \.`.*?```sh\n(.*?)```", PAGE.read_text(), re.S)
    commands = [[*line.split()[1:], *([] if "compare" in line else model)] for line in shown.splitlines()]
    # In one process: importing what a model needs takes longer than each of them.
    program = [sys.executable, "-c", IN_TURN, json.dumps(commands)]
    found = subprocess.run(
        program, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert "shift (4 random heads)" in " ".join(found.stdout.split())
    (folder,) = (tmp_path / "runs" / "train_offsets").iterdir()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["versions"]["lofit-shift"] == "1.0"
    assert manifest["made_by"]["method.strength"] == 2.0


def point(name, value, group="lofit.methods"):
    return EntryPoint(name, value, group)


@pytest.fixture
def offered(monkeypatch):
    """Offer these entry points as if packages were installed."""

    def offer(*points):
        monkeypatch.setattr(plugins, "_points", lambda group: tuple(p for p in points if p.group == group))

    return offer


def test_a_name_that_lofit_has_itself_is_refused(offered):
    offered(point("lora", "mine:LORA"))
    with pytest.raises(UserError, match="a package adds 'lora' to methods, which lofit has itself; uninstall it"):
        look_up("methods", "lofit", METHODS, "method.name")


def test_a_name_that_two_packages_give_is_refused(offered):
    offered(point("shift", "mine:SHIFT"), point("shift", "yours:SHIFT"))
    with pytest.raises(UserError, match="both add 'shift' to methods; uninstall one of them"):
        find_plugins("methods", METHODS)


def test_nothing_is_imported_that_is_not_asked_for(offered):
    offered(point("shift", "a_package_that_is_not_there:SHIFT"))
    assert look_up("methods", "lofit", METHODS, "method.name") is METHODS["lofit"]
    with pytest.raises(UserError, match=r"'shift' of a package could not be imported \(ModuleNotFoundError"):
        look_up("methods", "shift", METHODS, "method.name")
    with pytest.raises(UserError, match=r"method\.name=shif is not known; did you mean 'shift'\?"):
        look_up("methods", "shif", METHODS, "method.name")


def test_yaml_files_of_a_package_are_found(offered, tmp_path, monkeypatch):
    folder = tmp_path / "a_plugin" / "conf" / "task"
    folder.mkdir(parents=True)
    (tmp_path / "a_plugin" / "__init__.py").touch()
    (folder / "mine.yaml").write_text("name: misconceptions\ntrain_prompt: 'Question: {question}'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    offered(point("mine", "a_plugin", "lofit.conf"))
    from lofit_cli.hydra_config import compose_yaml

    assert "Question: {question}" in compose_yaml("select_heads", ["task=mine"], None)
