"""ARC-Challenge (Clark et al. 2018, arXiv 1803.05457): questions with lettered options, as LoFiT asks them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from lofit_cli.errors import UserError
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks.forms.generation import GenerationTask, OpenItem, plain
from lofit_cli.tasks.records import Record, hold_out, load_hub_records, read_records

PROMPT = "\nPlease choose the correct answer to the question.\nQuestion: {question}\n{options}\nAnswer:"
"""LoFiT (arXiv 2406.01563), appendix C."""

WORDS = ("A", "I")
"""Letters that are words too."""

MIN_OPTIONS = 2
NUM_VALIDATION = 299
SAMPLING_SEED = 42


def load_arc_challenge(config: TaskConfig) -> GenerationTask:
    """Return ARC-Challenge, a validation split drawn from its training file."""
    if config.data_dir:
        folder = Path(config.data_dir)
        train, test = (read_records(folder / name) for name in ("train.jsonl", "test.jsonl"))
        train, validation = hold_out(train, NUM_VALIDATION, SAMPLING_SEED)
        splits = {"train": train, "validation": validation, "test": test}
    else:
        name = config.hub_id or "allenai/ai2_arc"
        splits = {split: load_hub_records(name, "ARC-Challenge", split) for split in ("train", "validation", "test")}
    return lettered_task(config, splits)


def lettered_task(config: TaskConfig, splits: Mapping[str, Sequence[Record]]) -> GenerationTask:
    """Return a benchmark of questions with lettered options, whatever file they come from."""
    items = {split: [_item(row, f"{split}-{i}") for i, row in enumerate(rows)] for split, rows in splits.items()}
    return GenerationTask(config, items, metric="accuracy", is_right=chooses)


def chooses(generated: str, item: OpenItem) -> bool:
    """Return whether a text is the right letter, the right option's text, or begins with that letter as a word.

    What is another option's text does not begin with a letter, and an `A` or `I` before a space begins a sentence.
    """
    said, letter = plain(generated), item.accepted[0]
    if said in map(plain, item.accepted):
        return True
    end = r"[^\w\s]" if letter in WORDS else r"(?!\w)"
    return said not in map(plain, item.other_options) and bool(re.match(rf"\W*{re.escape(letter)}{end}", generated))


def _item(record: Record, item_id: str) -> OpenItem:
    question, key, choices = record.text("question"), record.text("answerKey"), record.part("choices")
    texts, labels = choices.texts("text"), choices.texts("label")
    if len(labels) != len(texts) or len(set(labels)) < len(labels):
        raise UserError(f"{choices.source}: {len(labels)} labels for {len(texts)} texts; each needs its own")
    if key not in labels or len(labels) < MIN_OPTIONS:
        raise UserError(f"{record.source}: its answer '{key}' is not one of its options {', '.join(labels)}")
    options = "\n".join(f"{label}. {text}" for label, text in zip(labels, texts, strict=True))
    right = labels.index(key)
    wrong = labels[(right + 1) % len(labels)]
    prompt = PROMPT.format(question=question, options=options)
    others = tuple(text for label, text in zip(labels, texts, strict=True) if label != key)
    return OpenItem(item_id, f"{len(labels)} options", prompt, f" {key}", (key, texts[right]), f" {wrong}", others)
