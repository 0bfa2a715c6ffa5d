"""`resume=RUN_DIR`: a run goes on in its own directory, with the settings that it was given."""

from pathlib import Path
from typing import Any

import yaml

from lofit_cli.artifacts.files import read_bytes, read_sealed
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
    folder = _folder(named[0])
    if (found := _stage_of(folder)) != stage:
        what = f"a run of {found}" if found else "no run that was begun"
        raise UserError(f"{named[0]} holds {what}; name the directory of a run of {stage}")
    return [*_own_settings(folder), f"hydra.run.dir={quote(str(folder))}"]


def require_same_settings(overrides: list[str], settings_hash: str) -> None:
    """Refuse to go on with other settings than the run was begun with: its list of them was changed or cut off.

    Args:
        overrides: as they were typed.
        settings_hash: of the settings that `resumed` gave.

    Raises:
        UserError: they are others.
    """
    for named in (override for override in overrides if override.startswith(KEY)):
        begun = _begun(_folder(named)).get("config_hash")
        if begun not in (None, settings_hash):
            raise UserError(
                f"{named}: its {HYDRA}/overrides.yaml holds other settings than the run was begun with; give the "
                f"settings anew, with hydra.run.dir={_folder(named)}"
            )


def _folder(named: str) -> Path:
    return Path(named.removeprefix(KEY).strip("'\""))


def _begun(folder: Path) -> dict[str, Any]:
    return read_sealed(folder / STARTED) or read_sealed(folder / MANIFEST)


def _stage_of(folder: Path) -> Any:
    """Return the stage whose run a directory holds, finished or not; None where it holds none."""
    return _begun(folder).get("stage")


def _own_settings(folder: Path) -> list[str]:
    """Return what the run was told on its command line, as Hydra wrote it down."""
    file = folder / HYDRA / "overrides.yaml"
    try:
        settings = yaml.safe_load(read_bytes(file).decode("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{file} could not be read ({error}); give the settings anew, with hydra.run.dir={folder}")
    if not isinstance(settings, list) or not all(isinstance(setting, str) for setting in settings):
        raise UserError(f"{file} is no list of settings; give them anew, with hydra.run.dir={folder}")
    return settings
