"""StereoSet (Nadeem et al. 2021, arXiv 2004.09456), intersentence: a context and three sentences that may follow."""

from collections.abc import Mapping
from pathlib import Path

from lofit_cli.errors import UserError
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.schema.tasks import SharedOutConfig, settings_of
from lofit_cli.tasks.forms.stereotypes import Continuations, ContinuationsTask
from lofit_cli.tasks.own_splits import fill_splits
from lofit_cli.tasks.records import Record, load_hub_records, read_object

FILE = "dev.json"
PART = "intersentence"
LABELS = ("anti-stereotype", "stereotype", "unrelated")
"""In the order of the Hub's classes, which it writes as numbers."""


def load_stereoset(config: TaskConfig) -> ContinuationsTask:
    """Return StereoSet's development set, the only one that is published, split by the contexts' text.

    It is `dev.json` of `task.data_dir`, as the authors have it, or the Hub's.
    """
    config = settings_of(config, SharedOutConfig)
    if config.data_dir:
        records = _read_part(Path(config.data_dir) / FILE)
    else:
        records = load_hub_records(config.hub_id or "McGill-NLP/stereoset", PART, "validation")
    items = [_item(record) for record in records]
    return ContinuationsTask(config, fill_splits({"train": items}, [item.text for item in items], config.shares))


def _read_part(file: Path) -> list[Record]:
    """Return the intersentence items of a file in the authors' form, refusing one without any."""
    data = read_object(file).part("data")
    records = data.parts(PART) if PART in data.content else []
    if not records:
        raise UserError(f"{file} has no {PART} items, which task 'stereoset' measures; take the authors' {FILE}")
    return records


def _item(record: Record) -> Continuations:
    """Return an item by its sentences' gold labels; what each annotator said of them is not read."""
    sentences = _sentences(record)
    labels = [sentence.one_of("gold_label", LABELS) for sentence in sentences]
    if sorted(labels) != sorted(LABELS):
        due = ", ".join(LABELS)
        raise UserError(f"{record.source}: its sentences are {', '.join(labels)}; it must have one of each of {due}")
    said = {label: f" {sentence.text('sentence').strip()}" for label, sentence in zip(labels, sentences, strict=True)}
    anti_stereotype, stereotype, unrelated = (said[label] for label in LABELS)
    about = record.label("id"), record.text("bias_type"), record.text("context").strip()
    return Continuations(*about, stereotype, anti_stereotype, unrelated)


def _sentences(record: Record) -> list[Record]:
    """Return the sentences, which the authors' file lists one by one, and the Hub field by field."""
    if not isinstance(record.get("sentences"), Mapping):
        return record.parts("sentences")
    fields = record.part("sentences")
    texts, labels = fields.texts("sentence"), fields.get("gold_label")
    if not isinstance(labels, list) or len(labels) != len(texts):
        raise fields.refusal("gold_label", labels, f"a list of {len(texts)} labels, one for each sentence")
    rows = ({"sentence": text, "gold_label": label} for text, label in zip(texts, labels, strict=True))
    return [Record(row, f"{fields.source} {i}") for i, row in enumerate(rows, 1)]
