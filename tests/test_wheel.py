"""The wheel carries conf/, the bundled questions and the samples, and works from an empty folder."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_wheel_works_without_the_checkout(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("lofit-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
        assert not [name for name in archive.namelist() if name.startswith("tests/")]
        page = {f"lofit_cli/report/comparison/report.{form}" for form in ("html.jinja", "css", "js")}
        page.add("lofit_cli/report/description/description.html.jinja")
        assert page <= {*archive.namelist()}
    code = (
        "import sys, lofit_cli; from lofit_cli.hydra_config import compose_yaml, conf_dir;"
        "from lofit_cli.tasks import *;"
        "from lofit_cli.schema.sources import TaskConfig; print(lofit_cli.__file__, conf_dir());"
        "compose_yaml('select_heads', ['selector=random'], None); load_task(TaskConfig('misconceptions'));"
        "[load_task(TaskConfig(name, data_dir='sample')) for name in TASKS if name != 'hub']"
    )
    environment = {"PYTHONPATH": str(tmp_path / "site"), "PATH": "", "HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(str(tmp_path / "site")) == 2
