"""`task=file` and `task=hub`: questions of the user's own, in one of three forms."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lofit_cli.console import say
from lofit_cli.errors import UserError, did_you_mean
from lofit_cli.prompts import QA_FRAME, Prompt, ask, ask_question
from lofit_cli.schema.rows import RowsConfig
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.schema.tasks import settings_of
from lofit_cli.tasks.forms.generation import OpenItem
from lofit_cli.tasks.forms.multiple_choice import MultipleChoiceItem, check_choice
from lofit_cli.tasks.forms.own_rows import OwnAnswersTask, OwnChoicesTask, OwnTextsTask
from lofit_cli.tasks.forms.preference import PairsTask, PreferenceItem
from lofit_cli.tasks.forms.truthfulqa import Question, check_question
from lofit_cli.tasks.own_splits import fill_splits, refuse_shared_items
from lofit_cli.tasks.preference_rows import is_conversation, read_conversation
from lofit_cli.tasks.records import Record, load_hub_splits
from lofit_cli.tasks.row_files import read_files
from lofit_cli.tasks.same_text import retyped_answer, same_answer
from lofit_cli.tasks.task import Item, Task

FIELDS = {
    "answers": ("correct", "incorrect"),
    "choices": ("choices", "answer"),
    "preference": ("chosen", "rejected"),
    "generation": ("answer",),
}
"""Form -> the fields that tell it from those after it; each form has a `question` or a `prompt` besides."""
TEXTS = ("question", "prompt")
OPTIONAL = ("best", "category", "id")
NAMES = (*TEXTS, *dict.fromkeys(name for names in FIELDS.values() for name in names), *OPTIONAL)
DEFAULT_PROMPTS = {"question": QA_FRAME, "prompt": "{prompt}"}
FAR = 100
"""How many other rows are looked at for a wrong answer."""
PLACE = re.compile(r"\{(\w+)\}")


def load_file(config: TaskConfig) -> Task[Any]:
    """Return the rows of `task.files`, or of the files in `task.data_dir`."""
    config = settings_of(config, RowsConfig)
    return _make_task(config, read_files(config))


def load_hub(config: TaskConfig) -> Task[Any]:
    """Return the rows of the dataset `task.hub_id`, of its configuration `task.subset` where it has several."""
    config = settings_of(config, RowsConfig)
    if not config.hub_id or config.data_dir:
        raise UserError("task 'hub' takes task.hub_id, as in task.hub_id=OWNER/NAME, and no task.data_dir")
    return _make_task(config, load_hub_splits(config.hub_id, config.subset))


def _make_task(config: RowsConfig, records: Mapping[str, Sequence[Record]]) -> Task[Any]:
    """Return the task of rows that stand in some splits; those that are missing are taken from the training rows.

    Raises:
        UserError: a row lacks something, or an item stands in two splits.
    """
    _require_columns(config.columns, [record for rows in records.values() for record in rows])
    named = {split: [_renamed(record, config.columns) for record in rows] for split, rows in records.items()}
    form = config.form or _told_form(named)
    if config.objective is not None and form != "choices":
        raise UserError(f"task.objective={config.objective} is for task.form=choices; leave it out for {form}")
    if config.close_answers and form != "answers":
        raise UserError(f"task.close_answers=true is for task.form=answers; leave it out for {form}")
    items = {split: _read(config, form, rows, split) for split, rows in named.items()}
    texts = [_asked(*pair) for pair in zip(named.get("train", ()), items.get("train", ()), strict=True)]
    splits = fill_splits(items, texts, config.shares)
    refuse_shared_items(splits)
    return FORMS[form].task(config, splits)


def _asked(record: Record, item: Item) -> str:
    """Return what a row asks, whatever the words are in which it is shown."""
    said = (record.content.get(name) for name in TEXTS)
    return next((text for text in said if isinstance(text, str)), item.text)


def _require_columns(columns: Mapping[str, str], rows: Sequence[Record]) -> None:
    """Refuse names that are no form's fields, and columns that no row has."""
    there = {str(name) for row in rows for name in row.content}
    for name, column in columns.items():
        if name not in NAMES:
            raise UserError(f"task.columns: {name} is not a field; {did_you_mean(name, NAMES)}")
        if rows and column not in there:
            raise UserError(f"task.columns: no row has a column '{column}'; {did_you_mean(column, sorted(there))}")


def _renamed(record: Record, columns: Mapping[str, str]) -> Record:
    """Return a row whose columns have the names of a form's fields; what a field may lack, its column may."""
    found = {name: record.content.get(c) if name in OPTIONAL else record.get(c) for name, c in columns.items()}
    return Record({**record.content, **found}, record.source)


def _told_form(rows: Mapping[str, Sequence[Record]]) -> str:
    """Return the form that the first row's columns tell, saying so."""
    first = next((record for records in rows.values() for record in records), None)
    if first is None:
        raise UserError("task.data_dir has files without a row; each row is a question")
    for form, fields in FIELDS.items():
        if all(first.content.get(name) is not None for name in fields):
            say(f"rows have {' and '.join(fields)}: read as task.form={form}")
            return form
    raise UserError(
        f"{first.source} has {first.held}; a row needs a question with correct and incorrect answers, "
        "with choices and an answer, with chosen and rejected, or with an answer: say which columns these are, as in "
        "'task.columns={question: q}'"
    )


def _read(config: RowsConfig, form: str, rows: Sequence[Record], split: str) -> list[Any]:
    read = FORMS[form].read
    items = [replace(read(config, row, f"{split}-{i}"), source=row.source) for i, row in enumerate(rows, 1)]
    return _with_wrong_answers(items) if form == "generation" else items


def _with_wrong_answers(items: Sequence[Any]) -> list[OpenItem]:
    """Return the items, each with the next one's answer that differs as its wrong one, for methods that contrast."""
    far = min(FAR, len(items))
    around = ((items[j % len(items)] for j in range(i + 1, i + far)) for i in range(len(items)))
    return [replace(item, wrong=_next_other(item, others)) for item, others in zip(items, around, strict=True)]


def _next_other(item: OpenItem, others: Iterable[OpenItem]) -> str:
    right = {*map(same_answer, item.accepted)}
    return next((other.answer for other in others if same_answer(other.answer) not in right), "")


def _prompt(record: Record, template: str) -> Prompt:
    """Return what the model is shown of a row."""
    if template == QA_FRAME:
        return ask_question(record.label("question"))
    return ask(PLACE.sub(lambda place: record.label(place[1]), template))


def _common(config: RowsConfig, record: Record, item_id: str) -> dict[str, Any]:
    """Return what every item has: what its row is called, its prompt, and what that holds of the row."""
    name = next((name for name in TEXTS if record.content.get(name) is not None), TEXTS[0])
    template = config.prompt or DEFAULT_PROMPTS[name]
    if not (shown := dict.fromkeys(PLACE.findall(template))):
        raise UserError(f"task.prompt={template!r} has no place for a row's field; write for example {{question}}")
    prompt, asked = _prompt(record, template), "\n".join(map(record.label, shown))
    return {**_about(record, item_id), "text": prompt.text, "turns": prompt.turns, "asked": asked}


def _about(record: Record, item_id: str) -> dict[str, str]:
    """Return a row's id and category, as far as it states them."""
    given = {"id": item_id, "category": "all"}
    return given | {name: record.label(name) for name in given if not _is_blank(record.content.get(name))}


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _list(config: RowsConfig, record: Record, name: str) -> tuple[str, ...]:
    """Return a field that holds a list of texts; in a file without lists it is JSON, or split by a separator."""
    value = record.get(name)
    if not isinstance(value, str):
        return tuple(text.strip() for text in record.texts(name))
    if config.list_separator is not None:
        return tuple(text.strip() for text in value.split(config.list_separator) if text.strip())
    try:
        listed = json.loads(value)
    except ValueError:
        raise record.refusal(name, value, """a list: JSON, as in ["Paris", "Lyon"], or set task.list_separator=';'""")
    return tuple(text.strip() for text in Record({name: listed}, record.source).texts(name))


def _answers(config: RowsConfig, record: Record, item_id: str) -> Question:
    correct, incorrect = _list(config, record, "correct"), _list(config, record, "incorrect")
    is_named = not _is_blank(record.content.get("best"))
    best = record.text("best").strip() if is_named else next(iter(correct), "")
    listed = correct if best in correct else (best, *correct)
    question = Question(**_common(config, record, item_id), best=best, correct=listed, incorrect=incorrect)
    return check_question(question, record.source)


def _choices(config: RowsConfig, record: Record, item_id: str) -> MultipleChoiceItem:
    choices = _list(config, record, "choices")
    answers = tuple(config.answer_prefix + choice for choice in choices)
    item = MultipleChoiceItem(**_common(config, record, item_id), answers=answers, right=_right(record, choices))
    return check_choice(item, record.source)


def _right(record: Record, choices: Sequence[str]) -> int:
    """Return which choice is right: a number from 0, or a text that is a choice, a letter from A or such a number."""
    given = record.get("answer")
    answer, letters = record.label("answer").strip(), [chr(ord("A") + i) for i in range(len(choices))]
    as_text = [] if isinstance(given, int) else [i for i, choice in enumerate(choices) if choice == answer]
    as_letter = [i for i, letter in enumerate(letters) if letter == answer.upper() and not isinstance(given, int)]
    as_number = [int(answer)] if answer.isdecimal() and int(answer) < len(choices) else []
    meant = {*as_text, *as_letter, *as_number}
    if len(meant) == 1:
        return meant.pop()
    due = f"one of its {len(choices)} choices, a letter from A on, or a number from 0 on"
    raise record.refusal("answer", given, f"{due}, and mean one choice only" if meant else due)


def _texts(config: RowsConfig, record: Record, item_id: str) -> OpenItem:
    value = record.get("answer")
    is_list = isinstance(value, list) or config.list_separator is not None
    accepted = _list(config, record, "answer") if is_list else (record.label("answer").strip(),)
    if not accepted:
        raise record.refusal("answer", value, "one answer or more")
    answer = config.answer_prefix + accepted[0]
    return OpenItem(**_common(config, record, item_id), answer=answer, accepted=accepted, wrong="")


def _pair(config: RowsConfig, record: Record, item_id: str) -> PreferenceItem:
    if is_conversation(record):
        if config.prompt:
            raise UserError(f"task.prompt={config.prompt!r} is for texts, and {record.source} has turns; leave it out")
        turns, chosen, rejected = read_conversation(record)
        text = "\n".join(turn.content for turn in turns)
        about: dict[str, Any] = {**_about(record, item_id), "text": text, "turns": turns, "is_conversation": True}
    else:
        about = _common(config, record, item_id)
        chosen, rejected = (_after(config, about["text"], record.text(name)) for name in FIELDS["preference"])
    if retyped_answer(chosen) == retyped_answer(rejected):
        raise UserError(f"{record.source}: its chosen and its rejected answer are the same; leave the row out")
    return PreferenceItem(**about, chosen=chosen, rejected=rejected)


def _after(config: RowsConfig, prompt: str, answer: str) -> str:
    """Return an answer with what separates it from its prompt, unless one of the two has brought that along."""
    return answer if prompt[-1:].isspace() or answer[:1].isspace() else config.answer_prefix + answer


@dataclass(frozen=True)
class Form:
    """What a row is: how an item is read from it, and the task that its items make."""

    read: Callable[[RowsConfig, Record, str], Item]
    task: Callable[[Any, Any], Task[Any]]


FORMS = {
    "answers": Form(_answers, OwnAnswersTask),
    "choices": Form(_choices, OwnChoicesTask),
    "preference": Form(_pair, PairsTask),
    "generation": Form(_texts, OwnTextsTask),
}
