"""Items that the model answers in its own words, right or wrong."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lofit_cli.artifacts.predictions import GeneratedAnswer
from lofit_cli.tasks.same_text import same_answer
from lofit_cli.tasks.task import Example, Item, Task


@dataclass(frozen=True)
class OpenItem(Item):
    """A prompt that the model continues; `text` is the whole prompt.

    Attributes:
        answer: the continuation that training teaches, with what separates it from the prompt.
        accepted: the texts that count as right.
        wrong: a continuation that is wrong, for methods that contrast right and wrong answers.
        other_options: the texts of all wrong options, where there are options.
    """

    answer: str
    accepted: tuple[str, ...]
    wrong: str
    other_options: tuple[str, ...] = ()

    @property
    def is_ambiguous(self) -> bool:
        """Return whether a wrong continuation or option counts as right."""
        wrong = map(same_answer, (self.wrong, *self.other_options))
        return not {*map(same_answer, self.accepted)}.isdisjoint(wrong)

    def measured_by(self) -> dict[str, Any]:
        """Return what its metric depends on; the wrong answer of some benchmarks is drawn from all splits' answers."""
        return {key: value for key, value in super().measured_by().items() if key not in ("answer", "wrong")}


def exact_match(generated: str, item: OpenItem) -> bool:
    """Return whether the text is one of the accepted ones, letter case, outer white space and a last period aside.

    A model that was not trained ends its answers in a period; to count that as wrong would flatter those that were.
    """
    return plain(generated) in {plain(text) for text in item.accepted}


def plain(text: str) -> str:
    """Return a text as it is compared: without letter case, outer white space and a last period."""
    return text.strip().removesuffix(".").strip().casefold()


@dataclass(frozen=True)
class GenerationTask(Task[OpenItem]):
    """A benchmark whose answers are generated greedily up to the end of a line, after training on right answers.

    Attributes:
        metric: what a right answer counts for: `em` (exact match) or `accuracy`.
        is_right: whether a generated text answers an item.
    """

    objective = "sft"
    generates = True
    metric: str = "em"
    is_right: Callable[[str, OpenItem], bool] = exact_match

    @property
    def metrics(self) -> tuple[str, ...]:
        """Return the one metric."""
        return (self.metric,)

    def protocol(self, asked_for: str, split: str) -> str:
        """Return the protocol with the length at which an answer is cut."""
        return f"zero-shot, {self.config.max_new_tokens} tokens"

    def examples(self, split: str) -> list[Example]:
        """Return each prompt with its right answer and a wrong one."""
        return [Example(item.prompt, (item.answer, item.wrong), 1) for item in self.items(split)]

    def predict(self, item: OpenItem, outcome: str) -> GeneratedAnswer:
        """Return an item with the line generated after it."""
        metrics = self.measure(item, outcome)
        return GeneratedAnswer(item.id, item.category, item.shown, metrics, list(item.accepted), outcome)

    def measure(self, item: OpenItem, generated: str) -> dict[str, float]:
        """Return 1 for a right answer and 0 for a wrong one."""
        return {self.metric: float(self.is_right(generated, item))}
