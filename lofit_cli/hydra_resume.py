"""`resume=RUN_DIR`: a run goes on in its own directory, with the settings that it was given."""

from pathlib import Path
from typing import Any

import yaml

from lofit_cli.artifacts.files import read_object
from lofit_cli.artifacts.leftovers import HYDRA, STARTED
from lofit_cli.artifacts.manifest import MANIFEST
from lofit_cli.errors import UserError
from lofit_cli.hydra_overrides import quote

KEY = "resume="


def resumed(stage: str, overrides: list[str], multirun: bool) -> list[str]:
    """Return the settings of the run that `resume` names, with its directory; all others as they are.

    Raises:
        UserError: there is no such run of this stage, or other settings stand beside `resume`.
    """
    named = [override for override in overrides if override.startswith(KEY)]
    if not named:
        return overrides
    if len(overrides) > 1 or multirun:
        raise UserError(f"{named[0]} goes on with the run's own settings; leave out -m and all other settings")
    folder = Path(named[0].removeprefix(KEY).strip("'\""))
    if (found := _stage_of(folder)) != stage:
        what = f"a run of {found}" if found else "no run that was begun"
        raise UserError(f"{named[0]} holds {what}; name the directory of a run of {stage}")
    return [*_own_settings(folder), f"hydra.run.dir={quote(str(folder))}"]


def _stage_of(folder: Path) -> Any:
    """Return the stage whose run a directory holds, finished or not; None where it holds none."""
    return (read_object(folder / STARTED) or read_object(folder / MANIFEST)).get("stage")


def _own_settings(folder: Path) -> list[str]:
    """Return what the run was told on its command line, as Hydra wrote it down."""
    file = folder / HYDRA / "overrides.yaml"
    try:
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{file} could not be read ({error}); give the settings anew, with hydra.run.dir={folder}")
    if not isinstance(settings, list) or not all(isinstance(setting, str) for setting in settings):
        raise UserError(f"{file} is no list of settings; give them anew, with hydra.run.dir={folder}")
    return settings
