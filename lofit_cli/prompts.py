"""What a model is asked: a text that it continues, and the same as the turns of a conversation, for chat models."""

from dataclasses import dataclass
from typing import NamedTuple

USER, ASSISTANT, SYSTEM = "user", "assistant", "system"
QA_FRAME = "Q: {question}\nA:"
"""How a base model is asked a question, unless its task says otherwise."""


class Turn(NamedTuple):
    """What one side of a conversation says; chat templates know the roles `user`, `assistant` and `system`."""

    role: str
    content: str


@dataclass(frozen=True)
class Prompt:
    """What stands before an answer. Prompts are added to put one before another.

    Attributes:
        text: what a base model continues; None for a conversation, which only a chat template makes a text of.
        turns: the same as a conversation, the answer being its next turn.
        opens_text: whether what follows is no answer to it but a text of its own, which is scored as a whole.
    """

    text: str | None
    turns: tuple[Turn, ...]
    opens_text: bool = False

    def __add__(self, other: "Prompt") -> "Prompt":
        text = None if self.text is None or other.text is None else self.text + other.text
        return Prompt(text, self.turns + other.turns, other.opens_text)

    def answered(self, answer: str) -> "Prompt":
        """Return the prompt with its answer, to stand before another prompt."""
        return self + Prompt(f"{answer}\n\n", (Turn(ASSISTANT, answer.strip()),))


NOTHING = Prompt("", ())
"""The prompt that changes nothing before another one."""
WHOLE_TEXT = Prompt("", (), opens_text=True)
"""What stands before a text that is scored as a whole: nothing."""


def ask(text: str, said: str | None = None) -> Prompt:
    """Return the prompt of a text, in a conversation one turn of the user's: `said`, or else the text itself."""
    return Prompt(text, (Turn(USER, text.strip() if said is None else said),))


def ask_question(question: str, frame: str = QA_FRAME) -> Prompt:
    """Return a question in its frame; what the usual frame says, a conversation says by its turns."""
    is_usual = frame.split() == QA_FRAME.split()
    return ask(frame.replace("{question}", question), question if is_usual else None)


def as_prompt(prompt: str | Prompt) -> Prompt:
    """Return a prompt that may have been given as a text."""
    return ask(prompt) if isinstance(prompt, str) else prompt
