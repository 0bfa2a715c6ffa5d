"""Where texts and training answers come from: the user's file, our own texts of a task, the run's own task."""

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

from lofit_cli.artifacts.files import read_bytes
from lofit_cli.artifacts.manifest import TrainOffsetsManifest
from lofit_cli.errors import UserError
from lofit_cli.schema.rows import TASK_CONFIGS
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks import load_task
from lofit_cli.tasks.kinship import write_stories


def _write_kinship(num_texts: int) -> list[str]:
    settings = TaskConfig("kinship")
    return [story.text for story in islice(write_stories(settings.num_hops, settings.story_seed), num_texts)]


def _list_misconceptions(num_texts: int) -> list[str]:
    splits = load_task(TaskConfig("misconceptions")).splits.values()
    return [item.text for split in splits for item in split][:num_texts]


OWN_TEXTS: dict[str, tuple[str, Callable[[int], list[str]], tuple[str, ...]]] = {
    "kinship": ("family stories of task 'kinship'", _write_kinship, ("kinship", "clutrr")),
    "misconceptions": (
        "questions of task 'misconceptions'",
        _list_misconceptions,
        ("misconceptions", "truthfulqa", "truthfulqa_binary", "truthfulqa_generation"),
    ),
}
"""A task -> what its texts are, what makes them, and the tasks that they are too near to.

A story is taken without the question about it, because all of kinship's prompts begin with the same words.
"""


def find_texts(file: str | None, num_texts: int, tasks: Sequence[str]) -> tuple[str, list[str]]:
    """Return where texts come from, and the texts.

    Args:
        file: the user's; None for our own texts of a task that is none of `tasks`.
        tasks: of the run, then of its controls; where all of our own texts are near to some task, the run's counts.

    Raises:
        UserError: the file can't be read or holds no text.
    """
    if file is not None:
        return file, _read_texts(Path(file))[:num_texts]

    def nearness(task: str) -> tuple[bool, int]:
        near = OWN_TEXTS[task][2]
        return tasks[0] in near, sum(other in near for other in tasks)

    source, make, _ = OWN_TEXTS[min(OWN_TEXTS, key=nearness)]
    return source, make(num_texts)


def _read_texts(file: Path) -> list[str]:
    """Return a file's paragraphs, which blank lines part, or its lines where there is no blank line between any."""
    try:
        content = read_bytes(file).decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"text={file} could not be read ({error.strerror or error}); name a file of plain text")
    except UnicodeDecodeError:
        raise UserError(f"text={file} is no text in UTF-8; save it in that encoding")
    lines = [line.strip() for line in content.splitlines()]
    paragraphs = [part for part in "\n".join(lines).split("\n\n") if part.strip()]
    found = paragraphs if len(paragraphs) > 1 else lines
    texts = [text.strip() for text in found if text.strip()]
    if not texts:
        raise UserError(f"text={file} is empty; give one text a line, or paragraphs with a blank line between them")
    return texts


def read_training_answers(manifest: TrainOffsetsManifest) -> list[str]:
    """Return the chosen answers that a run of train-offsets was trained on.

    Raises:
        UserError: its task can't be loaded, or has other items now; a reason without a subject.
    """
    stated = manifest.config.get("task")
    if not isinstance(stated, dict):
        raise UserError("its manifest states no task")
    try:
        task = load_task(TASK_CONFIGS.get(str(stated.get("name")), TaskConfig)(**stated))
    except TypeError:
        raise UserError(f"the settings of its task '{manifest.task}' are a package's own")
    if task.facts()["dataset_hash"] != manifest.dataset_hash:
        raise UserError(f"its task '{manifest.task}' has other items now than those it was trained on")
    return [answer for example in task.examples("train") for answer in example.answers[: example.num_chosen]]
