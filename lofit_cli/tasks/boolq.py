"""BoolQ (Clark et al. 2019, arXiv 1905.10044): yes-or-no questions about a passage, as LoFiT asks them."""

from collections.abc import Sequence
from pathlib import Path

from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks.forms.generation import GenerationTask, OpenItem
from lofit_cli.tasks.records import Record, hold_out, load_hub_records, optional_records, read_records

PROMPT = "\n{passage}\nQuestion: {question}\nAnswer:"
"""LoFiT (arXiv 2406.01563), appendix C."""

NUM_VALIDATION = 100
"""LoFiT's; which passages were drawn is not published, so the draw is ours."""

SAMPLING_SEED = 42


def load_boolq(config: TaskConfig) -> GenerationTask:
    """Return BoolQ from `task.data_dir` (`train.jsonl`, `dev.jsonl`) or the Hub.

    Its validation split is the test split, the answers of BoolQ's own being hidden. Without `train.jsonl` it can be
    measured, not trained on.
    """
    if config.data_dir:
        folder = Path(config.data_dir)
        train, test = optional_records(folder / "train.jsonl"), read_records(folder / "dev.jsonl")
    else:
        name = config.hub_id or "google/boolq"
        train, test = (load_hub_records(name, None, split) for split in ("train", "validation"))
    kept, validation = hold_out(train, NUM_VALIDATION, SAMPLING_SEED)
    splits = {"train": kept, "validation": validation, "test": test}
    return GenerationTask(
        config, {split: _items(rows, split) for split, rows in splits.items()}, metric="accuracy", is_right=says
    )


def _items(records: Sequence[Record], split: str) -> list[OpenItem]:
    return [_item(record, f"{split}-{i}") for i, record in enumerate(records)]


def _item(record: Record, item_id: str) -> OpenItem:
    if not isinstance(answer := record.get("answer"), bool):
        raise record.refusal("answer", answer, "true or false")
    prompt = PROMPT.format(passage=record.text("passage"), question=record.text("question"))
    return OpenItem(item_id, str(answer), prompt, f" {answer}", (str(answer),), f" {not answer}")


def says(generated: str, item: OpenItem) -> bool:
    """Return whether a text begins with the right one of True and False, as a word of its own."""
    words = generated.replace(".", " ").replace(",", " ").split()
    return bool(words) and words[0].casefold() == item.accepted[0].casefold()
