"""Prompts with a chosen and a rejected answer: which of the two is likelier, and by how much."""

from dataclasses import dataclass

from lofit_cli.artifacts.predictions import MARGIN, ScoredAnswers
from lofit_cli.prompts import Prompt
from lofit_cli.tasks.task import Example, Item, Task


@dataclass(frozen=True)
class PreferenceItem(Item):
    """A prompt with two answers, each with what separates it from the prompt.

    Attributes:
        is_conversation: whether its row holds turns; `text` is then what they say, and no text to be continued.
    """

    chosen: str
    rejected: str
    is_conversation: bool = False

    @property
    def prompt(self) -> Prompt:
        """Return its turns, with its text where that is what its row holds."""
        return Prompt(None, self.turns) if self.is_conversation else super().prompt


@dataclass(frozen=True)
class PairsTask(Task[PreferenceItem]):
    """Pairs of answers, trained on and measured as pairs."""

    objective = "dpo"
    generates = False

    @property
    def metrics(self) -> tuple[str, ...]:
        """Return how often the chosen answer is the likelier one, and by how much."""
        return ("accuracy", MARGIN)

    def answers(self, item: PreferenceItem) -> tuple[str, ...]:
        """Return both, the chosen one first."""
        return (item.chosen, item.rejected)

    def examples(self, split: str) -> list[Example]:
        """Return each prompt with its two answers."""
        return [Example(item.prompt, self.answers(item), num_chosen=1) for item in self.items(split)]

    def predict(self, item: PreferenceItem, outcome: list[float]) -> ScoredAnswers:
        """Return an item with the log-probabilities of its answers."""
        said = [answer.strip() for answer in self.answers(item)]
        metrics = self.measure(float(outcome[0] - outcome[1]))
        return ScoredAnswers(item.id, item.category, item.shown, metrics, said, [True, False], outcome)

    def measure(self, margin: float) -> dict[str, float]:
        """Return an item's metrics from how much likelier, in nats, the chosen answer is."""
        return {"accuracy": float(margin > 0), MARGIN: margin}
