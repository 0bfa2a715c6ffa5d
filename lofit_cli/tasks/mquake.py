"""MQuAKE (Zhong et al. 2023, arXiv 2305.14795): multi-hop questions about a world in which one fact is changed."""

from collections.abc import Sequence
from pathlib import Path

from lofit_cli.errors import UserError
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks.forms.generation import GenerationTask, OpenItem
from lofit_cli.tasks.records import Record, fields, read_records

SPLIT_FILES = {"train": "train.jsonl", "validation": "val.jsonl", "test": "test.jsonl"}
PROMPT = "Q: Imagine that {edit}. {question} A:"
"""LoFiT (arXiv 2406.01563), appendix C."""


def load_mquake(config: TaskConfig) -> GenerationTask:
    """Return the single-edit cases of LoFiT's release, from `task.data_dir`."""
    if not config.data_dir:
        raise UserError("task.data_dir must be set for task 'mquake': a folder with train.jsonl, val.jsonl, test.jsonl")
    folder = Path(config.data_dir)
    splits = {split: _items(read_records(folder / name), split) for split, name in SPLIT_FILES.items()}
    return GenerationTask(config, splits)


def _items(records: Sequence[Record], split: str) -> list[OpenItem]:
    return [_item(record, f"{split} case {i + 1}") for i, record in enumerate(records)]


def _item(record: Record, source: str) -> OpenItem:
    """Return a case; the wrong answer is the one that was true before the change."""
    names = ("case_id", "requested_rewrite", "questions", "answer", "new_answer", "new_answer_alias", "new_single_hops")
    case_id, rewrites, questions, before, after, aliases, hops = fields(record, names, source)
    prompt, subject, target = fields(rewrites[0], ("prompt", "subject", "target_new"), source)
    edit = f"{prompt.replace('{}', subject)} {target['str']}"
    text = PROMPT.format(edit=edit, question=questions[0])
    accepted = (str(after), *map(str, aliases))
    return OpenItem(str(case_id), f"{len(hops)} hops", text, f" {after}", accepted, f" {before}")
