"""One sentence for a person, from what Hydra, OmegaConf and the operating system raise."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lofit_cli.artifacts.files import FULL
from lofit_cli.errors import RunError, UserError, did_you_mean
from lofit_cli.processes import is_of_another, lost_process

# What OmegaConf says of a value that its key can't take.
UNFIT = ("could not be converted", "is not a valid", "Cannot", "not supported", "Interpolation")

OURS = "UserError raised while resolving interpolation: "
"""What OmegaConf puts before an error of a resolver of ours."""


@contextmanager
def explained(base: DictConfig) -> Iterator[None]:
    """Turn what goes wrong in reading and composing configs into one sentence."""
    try:
        yield
    except OverrideParseException as error:
        raise UserError(explain_unparsable(error))
    except MissingConfigException as error:
        raise UserError(_explain_option(error))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_explain(error, base))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"a YAML file of --config-dir could not be read ({' '.join(str(error).split())}); mend it")
    except ValueError as error:
        raise UserError(f"{_one_sentence(error)}; give each config group the name of an option, or leave it out")


def for_people(error: Exception) -> UserError:
    """Return an error that a person can mend as one sentence; raise any other again."""
    if isinstance(error, UserError):
        return error
    if is_of_another(error):
        return lost_process(error)
    named = getattr(error, "filename", None) or "a file"
    if isinstance(error, OSError) and error.errno in FULL:
        return RunError(f"could not write {named}: {error.strerror}; free some space or write to another folder")
    if isinstance(error, OSError) and error.errno in errno.errorcode:
        return RunError(f"could not use {named}: {error.strerror}; mend that or name another file or folder")
    raise error


def explain_unparsable(error: OverrideParseException) -> str:
    """Explain an argument that is not KEY=VALUE."""
    return f"'{error.override}' is not an override ({_one_sentence(error)}); write KEY=VALUE, in quotes where needed"


def explain_addition(key: str, base: DictConfig, is_group: bool) -> str:
    """Explain a key with a `+` before it, such as `+experiment=NAME`."""
    node, name = _place(base, key)
    if is_group or name in node:
        return f"+{key}: this key is there already; write {key}=... without the +"
    return f"unknown key '{key}'; {_allowed(base, key)}"


def _explain_option(error: MissingConfigException) -> str:
    """Explain a config group's option that does not exist, such as `task=truthfulq`."""
    group, _, name = (error.missing_cfg_file or "").rpartition("/")
    if not group:
        return _one_sentence(error)
    if "/" in group:
        # experiment=default/truthfulqa: Hydra lists what the group holds, not what its folder does.
        group, _, folder = group.partition("/")
        return _explain_nested(group, folder, name)
    return f"{group}={name} is not known; {did_you_mean(name, _options(group))}"


def _explain_nested(group: str, folder: str, name: str) -> str:
    """Explain a name in a folder of a config group; name the folders where there is no such one."""
    beside = _options(f"{group}/{folder}")
    for option in beside:
        # The form of earlier versions, which had a file for each task.
        if (task := name.removesuffix(f"_{option}")) != name:
            return f"{group}={folder}/{name} is not known; write {group}={folder}/{option} task={task}"
    named = [f"{folder}/{option}" for option in beside] or [f"{inner}/{name}" for inner in _folders(group)]
    return f"{group}={folder}/{name} is not known; {did_you_mean(f'{folder}/{name}', named)}"


def _options(group: str) -> list[str]:
    found = GlobalHydra.instance().config_loader().get_group_options(group)
    return [option for option in found if not option.startswith("_")]


def _folders(group: str) -> list[str]:
    return GlobalHydra.instance().config_loader().get_group_options(group, ObjectType.GROUP)


def _explain(error: Exception, base: DictConfig) -> str:
    text = str(error.__cause__ or error)
    if text.startswith(OURS):
        return _one_sentence(error).removeprefix(OURS)
    named = re.search(r"full_key: (\S+)", text) or re.search(r"Could not override '([^']+)'", str(error))
    where = f" ({found[0]})" if (found := re.search(r"In '[^']+'", str(error))) else ""
    if named is None:
        hint = "; add -m to run a sweep" if "Ambiguous value" in text else ""
        return _one_sentence(error) + hint
    key = named[1]
    if "not Optional" in text:
        return f"{key}=null is not allowed{where}; give it a value, or leave it out for the default"
    if "is not a ListConfig" in text:
        return f"{key} takes a list{where}; write '{key}=[...]', in quotes"
    if any(words in text for words in UNFIT):
        return f"{key}: {_one_sentence(error.__cause__ or error)}{where}"
    return f"unknown key '{key}'{where}; {_allowed(base, key)}"


def _allowed(base: DictConfig, key: str) -> str:
    """Return the key of a group that has this name, or what keys there are beside it, and the nearest."""
    if inner := [f"{group!s}.{key}" for group, node in base.items() if isinstance(node, DictConfig) and key in node]:
        return f"did you mean '{inner[0]}'?"
    node, name = _place(base, key)
    return did_you_mean(name, map(str, node))


def _place(base: DictConfig, key: str) -> tuple[DictConfig, str]:
    """Return the node that a key would stand in and its name there; the whole config where there is no such node."""
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(base, parent) if parent else base
    return (node, name) if isinstance(node, DictConfig) else (base, key)


def _one_sentence(error: BaseException) -> str:
    return str(error).strip().splitlines()[0].strip()
