"""In-context learning: training examples before every prompt."""

import random
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from lofit_cli.artifacts.files import content_hash, read_bytes
from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.artifacts.seen_items import add_seen
from lofit_cli.errors import UserError
from lofit_cli.interventions.demonstrations import Demonstrations
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.prompts import NOTHING, Prompt
from lofit_cli.schema.fitted_methods import IclConfig
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.tasks.task import Task


def make_icl(
    lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig, head_mask: Tensor, run: RunDir
) -> Demonstrations:
    """Draw training items by the seed and show each with its right answer, or show a text that is given.

    Raises:
        UserError: there are fewer, or the text can't be read.
    """
    settings = cast(IclConfig, config.method)
    if settings.text is not None:
        return _show_file(Path(settings.text), lm, run)
    count = settings.num_examples
    shown = list(zip(task.items("train"), task.examples("train"), strict=True))
    if count > len(shown):
        raise UserError(f"method.num_examples={count} is more than the {len(shown)} training items of '{task.name}'")
    drawn = random.Random(config.seed).sample(shown, count)
    add_seen(run.path, (item.fingerprint for item, _ in drawn))
    return Demonstrations(sum((example.prompt.answered(example.answers[0]) for _, example in drawn), NOTHING))


def _show_file(file: Path, lm: LanguageModel, run: RunDir) -> Demonstrations:
    """Return the text of a file before every prompt, byte for byte; it has seen no item."""
    if lm.chat:
        raise UserError(
            f"method.text={file} is a text, and with model.chat_template=true prompts are turns; leave one of them out"
        )
    try:
        text = read_bytes(file).decode("utf-8")
    except OSError as error:
        raise UserError(f"method.text={file} can't be read ({error.strerror}); name a text file")
    except UnicodeDecodeError:
        raise UserError(f"method.text={file} is not text in UTF-8; save it as that")
    if not text.strip():
        raise UserError(f"method.text={file} is empty; name a file with text")
    run.record_settings(text={"file": content_hash(text)[:12]})
    add_seen(run.path, ())
    return Demonstrations(Prompt(text, ()))
