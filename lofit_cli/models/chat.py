"""Chat templates: a conversation as the text that a chat model was trained on, and where in it an answer stands."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from lofit_cli.errors import UserError, beginning
from lofit_cli.prompts import ASSISTANT, SYSTEM, USER, Turn

MARK = "lofit answers here"
"""An answer that stands for any, to see what a template writes before and after one."""
ONE_DAY = "{%- macro strftime_now(format) -%}26 Jul 2024{%- endmacro -%}"
"""Some templates state the date: it is always this one, or what is measured today could not be paired tomorrow."""


class AnsweredText(NamedTuple):
    """A prompt with its answer as one text; the answer's characters are those from `start` to `end`.

    Attributes:
        num_unscored: how many of the answer's first tokens are not scored.
    """

    text: str
    start: int
    end: int
    num_unscored: int = 0


@dataclass(frozen=True)
class Chat:
    """The chat template of a tokenizer; a model that can think aloud before it answers is told not to.

    Attributes:
        template: in Jinja.
        system_prompt: what every conversation begins with, if anything.
        special: what no turn may hold, because the template's own turns are made of it.
    """

    tokenizer: PreTrainedTokenizerBase
    template: str
    system_prompt: str | None
    special: tuple[str, ...]

    @property
    def hash(self) -> str:
        """Return what tells this template from others."""
        return hashlib.sha256(self.template.encode()).hexdigest()[:12]

    def prompt_text(self, turns: Sequence[Turn]) -> str:
        """Return the text up to where the answer begins.

        It is what the template opens the assistant's turn with, and what it then writes before the turn's words: some
        templates open no turn, or write one that is there already in another way. Spaces that it adds are left to the
        answer, of whose first token they are a part.

        Raises:
            UserError: the template does not take such turns, or they hold a token of its own; without a subject.
        """
        opened, whole = self._render(turns, True), self._render([*turns, Turn(ASSISTANT, MARK)], False)
        if MARK not in whole:
            raise UserError("has an answer that is written otherwise by the model's chat template")
        before = whole[: whole.rindex(MARK)]
        added = before.removeprefix(opened)
        return before.removesuffix(added) + added.rstrip(" ")

    def answered_text(self, turns: Sequence[Turn], prompt: str, answer: str) -> AnsweredText:
        """Return the text of the whole conversation, which an answer ends.

        Args:
            prompt: the text of the turns before it.

        Raises:
            UserError: as for `prompt_text`, or the template changes the answer; without a subject.
        """
        said = answer.strip()
        text = self._render([*turns, Turn(ASSISTANT, said)], False)
        found = text.find(said, len(prompt)) if said and text.startswith(prompt) else -1
        if found < 0 or text[len(prompt) : found].strip():
            reason = "is written otherwise by the model's chat template" if said else "has no text"
            raise UserError(f"has an answer '{beginning(said)}' that {reason}; change it, or leave it out")
        return AnsweredText(text, len(prompt), found + len(said))

    @cached_property
    def ends(self) -> list[int]:
        """Return the token that ends a turn of the assistant's, if it is one of the tokenizer's special ones."""
        turns = [Turn(USER, "Who?")]
        marked = self.answered_text(turns, self.prompt_text(turns), MARK)
        after = self.tokenizer(marked.text[marked.end :].lstrip(), add_special_tokens=False)["input_ids"]
        return [token for token in after[:1] if self.tokenizer.convert_ids_to_tokens(token) in self.special]

    def _render(self, turns: Sequence[Turn], is_open: bool) -> str:
        self._refuse_special(turns)
        opening = [] if self.system_prompt is None else [Turn(SYSTEM, self.system_prompt)]
        if opening and turns[0].role == SYSTEM:
            raise UserError("has a system turn of its own; leave model.system_prompt out")
        messages: list[Any] = [turn._asdict() for turn in (*opening, *turns)]
        options: dict[str, Any] = {"chat_template": self.template, "enable_thinking": False}
        try:
            text = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=is_open, **options
            )
        except Exception as error:  # what a template does is its author's
            raise UserError(f"has turns that the model's chat template does not take ({error}); change them")
        return str(text)

    def _refuse_special(self, turns: Sequence[Turn]) -> None:
        for turn in turns:
            if found := next((token for token in self.special if token in turn.content), None):
                raise UserError(f"holds '{found}', which a chat template would read as one of its own; take it out")


def open_chat(tokenizer: PreTrainedTokenizerBase, system_prompt: str | None, name: str) -> Chat:
    """Return a tokenizer's chat template, tried out.

    Args:
        name: the model's, for the messages.

    Raises:
        UserError: there is none, or it takes no conversation or no system prompt.
    """
    template = _template(tokenizer, name)
    added = (str(token) for token in tokenizer.added_tokens_decoder.values() if token.special)
    special = tuple(dict.fromkeys([*tokenizer.all_special_tokens, *added]))
    chat = Chat(tokenizer, template, system_prompt, special)
    try:
        _ = chat.ends
    except UserError as error:
        key = "chat_template=true" if system_prompt is None else "system_prompt"
        raise UserError(f"model.{key} can't be used with model '{name}': a conversation {error}")
    return chat


def _template(tokenizer: PreTrainedTokenizerBase, name: str) -> str:
    try:
        template = tokenizer.get_chat_template()
    except ValueError:
        raise UserError(
            f"model.chat_template=true needs a tokenizer with a chat template, and model '{name}' has none; leave it "
            "out, or choose a model that was trained to chat"
        )
    return ONE_DAY + template if "strftime_now" in template else str(template)
