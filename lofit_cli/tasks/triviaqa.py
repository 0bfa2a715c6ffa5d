"""TriviaQA with a false answer beside each true one: ITI's test of other knowledge."""

from collections.abc import Mapping
from pathlib import Path

from lofit_cli.console import say
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks.forms.multiple_choice import MultipleChoiceItem, MultipleChoiceTask, check_choice
from lofit_cli.tasks.records import Record, load_hub_records, read_records

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
    kept = [item for item in items if _differs(item)]
    if left_out := len(items) - len(kept):
        say(f"note: {left_out} of the {len(items)} questions are left out: their false answer is the true one")
    return MultipleChoiceTask(config, {"test": [check_choice(item, item.id) for item in kept]})


def _differs(item: MultipleChoiceItem) -> bool:
    """Return whether the false answer, which a model wrote, is not the true one after all."""
    true, false = (answer.casefold() for answer in item.answers)
    return true != false


def _item(record: Record, item_id: str) -> MultipleChoiceItem:
    best, *others = (answer.strip() for answer in _right_answers(record))
    answers = f" {best}", f" {record.text('false_answer').strip()}"
    prompt = PROMPT.format(question=record.text("question"))
    return MultipleChoiceItem(item_id, "all", prompt, answers, 0, tuple(others))


def _right_answers(record: Record) -> tuple[str, ...]:
    """Return the answer to score and then those that mean the same: one text, a list, or `value` beside `aliases`."""
    answer = record.get("answer")
    if isinstance(answer, Mapping):
        about = record.part("answer")
        return (about.text("value"), *(about.texts("aliases") if about.content.get("aliases") else ()))
    if isinstance(answer, str):
        return (record.text("answer"),)
    if not (answers := record.texts("answer")):
        raise record.refusal("answer", answer, "one answer or more")
    return answers
