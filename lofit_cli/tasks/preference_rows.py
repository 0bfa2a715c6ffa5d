"""Rows with a chosen and a rejected answer as turns of a conversation, in TRL's forms."""

from itertools import takewhile

from lofit_cli.errors import UserError
from lofit_cli.prompts import ASSISTANT, SYSTEM, USER, Turn
from lofit_cli.tasks.records import Record

ROLES = (USER, ASSISTANT, SYSTEM)
Turns = tuple[Turn, ...]


def is_conversation(record: Record) -> bool:
    """Return whether a row's answers are turns."""
    return isinstance(record.get("chosen"), list)


def read_conversation(record: Record) -> tuple[Turns, str, str]:
    """Return the turns before the answer, and both answers.

    Source: TRL, "Dataset formats and types": conversational preferences, their prompt explicit or implicit.

    Raises:
        UserError: a field holds no turns, there is no prompt, or an answer is not one turn of the assistant's.
    """
    chosen, rejected = _turns(record, "chosen"), _turns(record, "rejected")
    before = _prompt(record, chosen, rejected)
    if not before:
        raise UserError(f"{record.source} has no prompt: no field 'prompt', and no turn with which both answers begin")
    return before, _answer(record, "chosen", chosen, before), _answer(record, "rejected", rejected, before)


def _prompt(record: Record, chosen: Turns, rejected: Turns) -> Turns:
    """Return the row's prompt, turns or a text of the user's; where the answers have more turns, their common ones."""
    given = record.content.get("prompt")
    if record.content.get("question") is not None:
        raise UserError(f"{record.source} has turns and a 'question' beside them; leave one of them out")
    if isinstance(given, list):
        return _turns(record, "prompt")
    if given is not None and len(chosen) == len(rejected) == 1:
        return (Turn(USER, record.text("prompt")),)
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(chosen[:-1], rejected[:-1], strict=False))
    shared = tuple(turn for turn, _ in pairs)
    if given is not None and record.text("prompt").strip() not in [turn.content.strip() for turn in shared]:
        raise UserError(f"{record.source} has a 'prompt' that its turns do not have; make them agree, or leave it out")
    return shared


def _answer(record: Record, name: str, turns: Turns, before: Turns) -> str:
    """Return what the assistant says after the prompt, which may be repeated before it."""
    said = turns[len(before) :] if turns[: len(before)] == before else turns
    if len(said) != 1 or said[0].role != ASSISTANT:
        raise record.refusal(name, record.get(name), f"one turn of the {ASSISTANT}'s after the prompt")
    return said[0].content


def _turns(record: Record, name: str) -> Turns:
    parts = record.parts(name)
    for part in parts:
        if more := [key for key, value in part.content.items() if value and key not in ("role", "content")]:
            raise UserError(f"{part.source} has '{more[0]}' too; a turn has a role and a content, and nothing else")
    turns = tuple(Turn(part.text("role"), part.text("content")) for part in parts)
    for turn in turns:
        if turn.role not in ROLES:
            raise record.refusal(name, turn.role, f"a list of turns whose role is {', '.join(ROLES)}")
    return turns
