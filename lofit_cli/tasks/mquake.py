"""MQuAKE (Zhong et al. 2023, arXiv 2305.14795): multi-hop questions about a world in which one fact is changed."""

from pathlib import Path

from lofit_cli.errors import UserError, beginning
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks.forms.generation import GenerationTask, OpenItem
from lofit_cli.tasks.records import Record, read_records
from lofit_cli.tasks.same_text import same_answer

SPLIT_FILES = {"train": "train.jsonl", "validation": "val.jsonl", "test": "test.jsonl"}
PROMPT = "Q: Imagine that {edit}. {question} A:"
"""LoFiT (arXiv 2406.01563), appendix C."""


def load_mquake(config: TaskConfig) -> GenerationTask:
    """Return the single-edit cases of LoFiT's release, from `task.data_dir`."""
    if not config.data_dir:
        raise UserError("task.data_dir must be set for task 'mquake': a folder with train.jsonl, val.jsonl, test.jsonl")
    folder = Path(config.data_dir)
    splits = {split: list(map(_item, read_records(folder / name))) for split, name in SPLIT_FILES.items()}
    return GenerationTask(config, splits)


def _item(record: Record) -> OpenItem:
    """Return a case; the wrong answer is the one that was true before the change."""
    before, after, questions = record.text("answer"), record.text("new_answer"), record.texts("questions")
    if same_answer(before) == same_answer(after):
        raise UserError(f"{record.source}: its new_answer and its answer are '{beginning(before)}'; a case changes it")
    if not questions:
        raise record.refusal("questions", questions, "a list of one question or more")
    text = PROMPT.format(edit=_edit(record), question=questions[0])
    accepted = (after, *record.texts("new_answer_alias"))
    category = f"{len(record.parts('new_single_hops'))} hops"
    return OpenItem(record.label("case_id"), category, text, f" {after}", accepted, f" {before}")


def _edit(record: Record) -> str:
    """Return the changed fact as a sentence without its period."""
    rewrites = record.parts("requested_rewrite")
    if len(rewrites) != 1:
        raise UserError(f"{record.source}: its requested_rewrite has {len(rewrites)} changes; a case needs one")
    prompt, subject = rewrites[0].text("prompt"), rewrites[0].text("subject")
    if "{}" not in prompt:
        raise rewrites[0].refusal("prompt", prompt, "a text with {} where the subject goes")
    return f"{prompt.replace('{}', subject)} {rewrites[0].part('target_new').text('str')}"
