"""CLUTRR (Sinha et al. 2019, arXiv 1908.06177): how two people of a short story are related, as LoFiT asks it."""

import ast
import random
from collections.abc import Sequence
from pathlib import Path

from lofit_cli.errors import UserError, beginning
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks.forms.generation import GenerationTask, OpenItem
from lofit_cli.tasks.records import Record, load_hub_records, read_records

SPLIT_FILES = {"train": "train.json", "validation": "val.json", "test": "test.json"}
PROMPT = (
    'Read the following story about a family. "{story}" Assume the relations described in the story are all true. '
    "Based on relations between the fictional characters in the story (assume the relations are all true) and your "
    "commonsense knowledge about family relationship, how is {second} related to {first}? "
    "Answer: {second} is {first} 's"
)
"""LoFiT (arXiv 2406.01563), appendix C. The authors' code leaves two spaces before a name; this has one."""

TWO_HOPS = "task_1.2"
SAMPLING_SEED = 42
MIN_RELATIONS = 2


def load_clutrr(config: TaskConfig) -> GenerationTask:
    """Return CLUTRR's two-hop stories: from `task.data_dir` where it is set, else from the Hub."""
    if config.data_dir:
        records = {split: read_records(Path(config.data_dir) / name) for split, name in SPLIT_FILES.items()}
    else:
        name = config.hub_id or "CLUTRR/v1"
        everything = {split: load_hub_records(name, "gen_train234_test2to10", split) for split in SPLIT_FILES}
        records = {split: list(filter(_has_two_hops, rows)) for split, rows in everything.items()}
    relations = sorted({record.text("target_text") for rows in records.values() for record in rows})
    splits = {split: _items(rows, relations) for split, rows in records.items()}
    return GenerationTask(config, splits)


def _has_two_hops(record: Record) -> bool:
    return bool(record.content.get("task_name") == TWO_HOPS)


def _items(records: Sequence[Record], relations: Sequence[str]) -> list[OpenItem]:
    draw = random.Random(SAMPLING_SEED)
    return [_item(record, relations, draw) for record in records]


def _item(record: Record, relations: Sequence[str], draw: random.Random) -> OpenItem:
    story, query, relation = record.text("story"), record.get("query"), record.text("target_text")
    try:
        first, second = (str(name).strip() for name in ast.literal_eval(str(query)))
    except (ValueError, SyntaxError):
        raise UserError(f"{record.source}: query '{beginning(str(query))}' is not a pair of names")
    prompt = PROMPT.format(story=story.replace("[", "").replace("]", ""), first=first, second=second)
    if len(relations) < MIN_RELATIONS:
        raise UserError(f"the stories have the one relation '{relation}'; there must be two or more to tell apart")
    wrong = draw.choice([other for other in relations if other != relation])
    return OpenItem(record.label("id"), relation, prompt, f"\n{relation}", (relation,), f"\n{wrong}")
