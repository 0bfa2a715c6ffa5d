"""Items with one right answer among several, told by which of them the model finds likeliest."""

from collections.abc import Sequence
from dataclasses import dataclass

from lofit_cli.artifacts.predictions import LogProb, ScoredAnswers
from lofit_cli.errors import UserError
from lofit_cli.tasks.same_text import same_answer
from lofit_cli.tasks.task import Example, Item, Task


@dataclass(frozen=True)
class MultipleChoiceItem(Item):
    """A prompt, which is `text`, and the continuations to choose from, each with what separates it from the prompt.

    Attributes:
        right: which of them is right.
        other_right: texts that would be right as well, and are not scored.
    """

    answers: tuple[str, ...]
    right: int
    other_right: tuple[str, ...] = ()

    @property
    def is_ambiguous(self) -> bool:
        """Return whether another answer is right as well."""
        right = {*map(same_answer, (self.answers[self.right], *self.other_right))}
        return not right.isdisjoint(map(same_answer, others(self)))


@dataclass(frozen=True)
class MultipleChoiceTask(Task[MultipleChoiceItem]):
    """A benchmark whose answers are scored and never generated; training, where it has a split, is on right answers."""

    generates = False

    @property
    def objective(self) -> str:
        """Return `sft`: the right answer is learnt."""
        return "sft"

    @property
    def metrics(self) -> tuple[str, ...]:
        """Return the one metric."""
        return ("accuracy",)

    def items(self, split: str) -> list[MultipleChoiceItem]:
        """Return a split's items.

        Raises:
            UserError: the split holds none; most benchmarks of this kind have a test split only.
        """
        if split != "test" and not self.splits.get(split):
            raise UserError(
                f"task '{self.config.name}' has a test split only, and no {split} split; train on another task and "
                f"evaluate its run here: lofit evaluate task={self.config.name} intervention=DIR"
            )
        return super().items(split)

    def examples(self, split: str) -> list[Example]:
        """Return each prompt with its right answer and then the others."""
        return [
            Example(item.prompt, (item.answers[item.right], *others(item)), num_chosen=1) for item in self.items(split)
        ]

    def answers(self, item: MultipleChoiceItem) -> tuple[str, ...]:
        """Return the continuations to choose from."""
        return item.answers

    def predict(self, item: MultipleChoiceItem, outcome: list[LogProb]) -> ScoredAnswers:
        """Return an item with the log-probabilities of its answers."""
        answers = [answer.strip() for answer in item.answers]
        correct = [i == item.right for i in range(len(answers))]
        metrics = self.measure(item, outcome)
        return ScoredAnswers(item.id, item.category, item.shown, metrics, answers, correct, [*outcome])

    def measure(self, item: MultipleChoiceItem, log_probs: Sequence[LogProb]) -> dict[str, float]:
        """Return 1 where the right answer is likelier than every other."""
        return {"accuracy": is_highest(item.right, log_probs)}


def is_highest(right: int, values: Sequence[float]) -> float:
    """Return 1 where the right answer's value is above every other's, else 0."""
    return float(values[right] > max(value for i, value in enumerate(values) if i != right))


def check_choice(item: MultipleChoiceItem, source: str) -> MultipleChoiceItem:
    """Return the item, refusing one that can't be measured."""
    if len(item.answers) < 2 or not all(answer.strip() for answer in item.answers):
        raise UserError(f"{source}: an item needs two answers or more, none of them empty")
    if not 0 <= item.right < len(item.answers):
        raise UserError(f"{source}: its right answer {item.right} is not one of 0 to {len(item.answers) - 1}")
    if len(set(item.answers)) < len(item.answers):
        raise UserError(f"{source}: an answer stands there twice, so that none of them can be told to be right")
    return item


def others(item: MultipleChoiceItem) -> list[str]:
    """Return the answers that are not the right one."""
    return [answer for i, answer in enumerate(item.answers) if i != item.right]
