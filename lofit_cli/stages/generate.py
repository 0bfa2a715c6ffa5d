"""What the model says without and with an intervention, side by side, while it says it; no run is written."""

import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from lofit_cli.artifacts.finished_runs import read_manifest
from lofit_cli.artifacts.manifest import TrainOffsetsManifest
from lofit_cli.console import say
from lofit_cli.errors import ItemError, UserError
from lofit_cli.interventions.files import find_run, load_intervention, settings_of_model
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.models.kept import load_model_once
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.models.memory import memory_explained
from lofit_cli.report.side_by_side import side_by_side
from lofit_cli.schema.checks import line_ends
from lofit_cli.schema.stages import GenerateConfig

INVITATION = "> "


def generate(config: GenerateConfig) -> None:
    """Answer `prompt`, or each line of standard input, with the base model and with the intervention.

    Raises:
        UserError: the run is no finished one of train-offsets, or there is nothing to answer.
    """
    folder = find_run(config.intervention, Path(config.runs_dir))
    manifest = read_manifest(folder, TrainOffsetsManifest, "intervention")
    model = settings_of_model(folder, manifest, config.device)
    titles = "base model", f"{manifest.method} ({manifest.num_trained_parameters:,} trainable parameters)"
    with memory_explained(model):
        lm = load_model_once(model)
        edit, _ = load_intervention(folder, lm)
        for prompt in _prompts(config):
            _answer(lm, edit, prompt, titles, config.max_new_tokens)


def _prompts(config: GenerateConfig) -> Iterator[str]:
    """Yield the prompt that was set, or the lines of standard input that have any text.

    Raises:
        UserError: there is none.
    """
    prompts = _lines() if config.prompt is None else iter([config.prompt])
    first = next(prompts, None)
    if first is None:
        raise UserError("there is no prompt: set prompt='...', or give one on each line of standard input")
    yield from map(line_ends, chain([first], prompts))


def _lines() -> Iterator[str]:
    """Yield the lines of standard input that have any text, inviting them at a terminal."""
    if sys.stdin is None:
        return
    if sys.stdin.isatty():
        say("a prompt on each line; Ctrl-D ends")
    while line := _read_line():
        if line.strip():
            yield line.removesuffix("\n")


def _read_line() -> str:
    if sys.stdin.isatty():
        sys.stderr.write(INVITATION)
        sys.stderr.flush()
    return sys.stdin.readline()


def _answer(lm: LanguageModel, edit: Intervention, prompt: str, titles: tuple[str, str], max_new_tokens: int) -> None:
    try:
        prompt.encode()
    except UnicodeEncodeError:
        raise UserError("the prompt holds bytes that are no text in UTF-8; give it as text")
    try:
        with side_by_side(prompt, titles) as (write_base, write_edited):
            lm.generate(prompt, max_new_tokens, write_base)
            with edit.attach(lm):
                lm.generate(prompt, max_new_tokens, write_edited)
    except ItemError as error:
        raise UserError(f"the prompt {error.reason}")
