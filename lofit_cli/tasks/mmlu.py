"""MMLU (Hendrycks et al. 2021, arXiv 2009.03300), zero-shot, as lm-evaluation-harness asks it."""

from collections.abc import Sequence
from pathlib import Path

from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks.forms.multiple_choice import MultipleChoiceItem, MultipleChoiceTask, check_choice
from lofit_cli.tasks.records import Record, load_hub_records, read_records

PROMPT = (
    "The following are multiple choice questions (with answers) about {subject}.\n\n"
    "{question}\nA. {a}\nB. {b}\nC. {c}\nD. {d}\nAnswer:"
)
"""lm-evaluation-harness, task `mmlu`, without examples; its letters, too, are scored with a space before them."""

LETTERS = ("A", "B", "C", "D")


def load_mmlu(config: TaskConfig) -> MultipleChoiceTask:
    """Return MMLU's test questions: from `test.jsonl` of `task.data_dir`, else from the Hub (subset `all`)."""
    if config.data_dir:
        records = read_records(Path(config.data_dir) / "test.jsonl")
    else:
        records = load_hub_records(config.hub_id or "cais/mmlu", "all", "test")
    return MultipleChoiceTask(config, {"test": _items(records)})


def _items(records: Sequence[Record]) -> list[MultipleChoiceItem]:
    """Return the questions; those of a subject stand together, sharing a beginning."""
    items = [_item(record, f"mmlu-{i}") for i, record in enumerate(records)]
    return sorted(items, key=lambda item: item.category)


def _item(record: Record, item_id: str) -> MultipleChoiceItem:
    subject, choices, answer = record.text("subject"), record.texts("choices"), record.get("answer")
    if len(choices) != len(LETTERS):
        raise record.refusal("choices", choices, f"a list of {len(LETTERS)} texts")
    if isinstance(answer, bool) or not isinstance(answer, int):
        raise record.refusal("answer", answer, f"a whole number from 0 to {len(LETTERS) - 1}")
    options = dict(zip("abcd", choices, strict=True))
    prompt = PROMPT.format(subject=subject.replace("_", " "), question=record.text("question").strip(), **options)
    item = MultipleChoiceItem(item_id, subject, prompt, tuple(f" {letter}" for letter in LETTERS), answer)
    return check_choice(item, record.source)
