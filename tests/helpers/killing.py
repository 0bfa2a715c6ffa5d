"""Processes that are killed at a chosen moment: just before a file operation or forward pass, or inside a step."""

import os
import signal
import sys
from pathlib import Path

from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from transformers import PreTrainedModel
from typer.testing import CliRunner

from lofit_cli.cli import app

WATCHED = ("open", "os.rename", "os.remove", "os.mkdir", "os.link", "os.truncate", "shutil.rmtree")
"""What Python tells an audit hook of that changes files, or opens them."""


def run_until(moment, command):
    """Run a command in a process that kills itself at its moment-th watched event; return how many it saw.

    Args:
        moment: None to let it end.

    Returns:
        None where it was killed, else the number of events.
    """
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            _run_child(moment, command, write)
        finally:
            os._exit(99)
    os.close(write)
    with os.fdopen(read) as told:
        said = told.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return None
    assert os.WEXITSTATUS(status) == 0, said
    return int(said)


def _run_child(moment, command, write):
    count, here = 0, str(Path.cwd())

    def pass_moment():
        nonlocal count
        count += 1
        if count == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(event, arguments):
        if event in WATCHED and any(_is_inside(argument, here) for argument in arguments[:2]):
            pass_moment()

    sys.addaudithook(watch)
    register_module_forward_pre_hook(lambda module, inputs: pass_moment() if _is_model(module) else None)
    register_optimizer_step_pre_hook(lambda *step: pass_moment())
    register_optimizer_step_post_hook(lambda *step: pass_moment())
    found = CliRunner().invoke(app, command)
    told = str(count) if found.exit_code == 0 else found.output + found.stderr
    os.write(write, told.encode())
    os._exit(found.exit_code)


def _is_model(module):
    return isinstance(module, PreTrainedModel)


def _is_inside(path, folder):
    """Return whether a path that an operation was given lies in the run's folder."""
    if not isinstance(path, str | os.PathLike):
        return False
    return str(Path(folder, path)).startswith(f"{folder}/runs")
