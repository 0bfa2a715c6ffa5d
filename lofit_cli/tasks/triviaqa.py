"""TriviaQA with a false answer beside each true one: ITI's test of other knowledge."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lofit_cli.errors import UserError
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks.forms.multiple_choice import MultipleChoiceItem, MultipleChoiceTask, check_choice
from lofit_cli.tasks.records import Record, fields, load_hub_records, read_records

PROMPT = "Q: {question}\nA:"
"""Zero-shot, in TruthfulQA's form; ITI (arXiv 2306.03341), appendix B, and LoFiT publish no other."""


def load_triviaqa(config: TaskConfig) -> MultipleChoiceTask:
    """Return TriviaQA's validation questions, each with a false answer that ITI's authors had generated."""
    return load_false_answers(config, "OamPatel/iti_trivia_qa_val")


def load_false_answers(config: TaskConfig, hub_id: str) -> MultipleChoiceTask:
    """Read `validation.jsonl` of `task.data_dir`, or the Hub's validation split; both are the test split here."""
    if config.data_dir:
        records = read_records(Path(config.data_dir) / "validation.jsonl")
    else:
        records = load_hub_records(config.hub_id or hub_id, None, "validation")
    items = [_item(record, f"{config.name}-{i}") for i, record in enumerate(records)]
    return MultipleChoiceTask(config, {"test": [check_choice(item, item.id) for item in items if _differs(item)]})


def _differs(item: MultipleChoiceItem) -> bool:
    """Return whether the false answer, which a model wrote, is not the true one after all."""
    true, false = (answer.casefold() for answer in item.answers)
    return true != false


def _item(record: Record, item_id: str) -> MultipleChoiceItem:
    source = f"question {item_id}"
    question, answer, false = fields(record, ("question", "answer", "false_answer"), source)
    answers = f" {_best(answer, source)}", f" {str(false).strip()}"
    return MultipleChoiceItem(item_id, "all", PROMPT.format(question=question), answers, 0)


def _best(answer: Any, source: str) -> str:
    """Return the answer to score: the one there is, the first of a list, or TriviaQA's `value` beside its aliases."""
    if isinstance(answer, Mapping):
        (answer,) = fields(answer, ("value",), f"{source}, answer")
    if isinstance(answer, Sequence) and not isinstance(answer, str):
        answer = next(iter(answer), "")
    if not str(answer).strip():
        raise UserError(f"{source}: its answer is empty; it needs some text")
    return str(answer).strip()
