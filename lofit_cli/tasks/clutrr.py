"""CLUTRR (Sinha et al. 2019, arXiv 1908.06177): how two people of a short story are related, as LoFiT asks it."""

import ast
import random
from collections.abc import Sequence
from pathlib import Path

from lofit_cli.errors import UserError
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks.forms.generation import GenerationTask, OpenItem
from lofit_cli.tasks.records import Record, fields, load_hub_records, read_records

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
        records = {split: load_hub_records(name, "gen_train234_test2to10", split) for split in SPLIT_FILES}
        records = {split: [row for row in rows if row.get("task_name") == TWO_HOPS] for split, rows in records.items()}
    relations = sorted({fields(r, ["target_text"], "a CLUTRR story")[0] for rs in records.values() for r in rs})
    splits = {split: _items(rows, split, relations) for split, rows in records.items()}
    return GenerationTask(config, splits)


def _items(records: Sequence[Record], split: str, relations: Sequence[str]) -> list[OpenItem]:
    draw = random.Random(SAMPLING_SEED)
    return [_item(record, split, relations, draw) for record in records]


def _item(record: Record, split: str, relations: Sequence[str], draw: random.Random) -> OpenItem:
    story_id, story, query, relation = fields(record, ("id", "story", "query", "target_text"), f"a {split} story")
    try:
        first, second = (str(name).strip() for name in ast.literal_eval(str(query)))
    except (ValueError, SyntaxError):
        raise UserError(f"story {story_id}: query {query} is not a pair of names; check the {split} file")
    prompt = PROMPT.format(story=str(story).replace("[", "").replace("]", ""), first=first, second=second)
    if len(relations) < MIN_RELATIONS:
        raise UserError(f"the stories have the one relation '{relation}'; there must be two or more to tell apart")
    wrong = draw.choice([other for other in relations if other != relation])
    return OpenItem(str(story_id), relation, prompt, f"\n{relation}", (relation,), f"\n{wrong}")
