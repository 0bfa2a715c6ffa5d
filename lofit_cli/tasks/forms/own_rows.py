"""Rows of the user's own: an item's `text` is the whole prompt, the same in training and in measuring."""

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lofit_cli.artifacts.files import content_hash
from lofit_cli.artifacts.predictions import LogProb
from lofit_cli.prompts import NOTHING, Prompt
from lofit_cli.schema.rows import RowsConfig
from lofit_cli.tasks.forms.generation import GenerationTask, OpenItem
from lofit_cli.tasks.forms.multiple_choice import MultipleChoiceItem, MultipleChoiceTask, is_highest
from lofit_cli.tasks.forms.truthfulqa import Question, TruthfulQATask
from lofit_cli.tasks.task import Example, Task

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = re.compile(rf"(?!(?<!\w)-\d|(?<=\d)\.\d)[{re.escape(string.punctuation)}]")


@dataclass(frozen=True)
class OwnAnswersTask(TruthfulQATask):
    """Questions with correct and incorrect answers, each scored after the prompt alone."""

    def protocol(self, asked_for: str, split: str) -> str:
        """Return `zero-shot`: there are no examples of ours to show before questions of the user's."""
        return super().protocol("zero-shot", split)

    def prompt(self, item: Question, protocol: str, demonstrations: Prompt = NOTHING) -> Prompt:
        """Return the item's own prompt."""
        return demonstrations + item.prompt

    def questions_hash(self, split: str) -> str:
        """Return a hash of what is measured, with the answers as settings of the task write them."""
        return content_hash([super().questions_hash(split), [*map(self.answers, self.items(split))]])

    def answers(self, item: Question) -> tuple[str, ...]:
        """Return the answers to score, correct ones first."""
        return tuple(map(self._continuation, (*item.correct, *item.incorrect)))

    def _example(self, question: Question, chosen: Sequence[str], rejected: Sequence[str]) -> Example:
        return Example(question.prompt, tuple(map(self._continuation, (*chosen, *rejected))), len(chosen))

    def _continuation(self, answer: str) -> str:
        return self.config.answer_prefix + self._close(answer)


@dataclass(frozen=True)
class OwnChoicesTask(MultipleChoiceTask):
    """Questions with one right answer among several, told by log-probability: as it is, per character and per token."""

    config: RowsConfig

    def items(self, split: str) -> list[MultipleChoiceItem]:
        """Return a split's items; unlike most benchmarks of this kind, rows have all splits."""
        return Task.items(self, split)

    @property
    def objective(self) -> str:
        """Return the one that is set, or that of all such benchmarks."""
        return self.config.objective or "sft"

    @property
    def metrics(self) -> tuple[str, ...]:
        """Return the three."""
        return ("accuracy", "acc_norm", "acc_norm_tokens")

    def measure(self, item: MultipleChoiceItem, log_probs: Sequence[LogProb]) -> dict[str, float]:
        """Return 1 where the right answer is likeliest, and where it is so per character or per token of the answer.

        Source: lm-evaluation-harness, whose `acc_norm` divides by the length of the answer without its separator.
        """
        choices = [text.removeprefix(self.config.answer_prefix) for text in item.answers]
        per_letter = [value / len(text) for value, text in zip(log_probs, choices, strict=True)]
        per_token = [value / value.num_tokens for value in log_probs]
        found = [is_highest(item.right, values) for values in (log_probs, per_letter, per_token)]
        return dict(zip(self.metrics, found, strict=True))


@dataclass(frozen=True)
class OwnTextsTask(GenerationTask):
    """Prompts with the answers that count as right, compared with the line that the model generates."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Return the three."""
        return ("em", "f1", "contains")

    def measure(self, item: OpenItem, generated: str) -> dict[str, float]:
        """Return exact match, the F1 of words, and whether an accepted answer stands in the text; the best of them.

        Source: SQuAD's evaluation (Rajpurkar et al. 2016, arXiv 1606.05250), for how texts are made alike, and for F1.
        """
        found, accepted = normalised(generated), [normalised(text) for text in item.accepted]
        return {
            "em": float(found in accepted),
            "f1": max(word_f1(found, text) for text in accepted),
            "contains": float(any(f" {text} " in f" {found} " for text in accepted)),
        }


def normalised(text: str) -> str:
    """Return a text without letter case, punctuation, English articles and more than one space between words.

    A sign or a point of a number stays: -5 is not 5. So does all that there is, where nothing else would be left: `A`.
    """
    words = " ".join(ARTICLES.sub(" ", PUNCTUATION.sub("", text.casefold())).split())
    return words or text.casefold().strip()


def word_f1(found: str, right: str) -> float:
    """Return the harmonic mean of precision and recall of words, each counted as often as it stands there."""
    words, due = found.split(), right.split()
    shared = sum((Counter(words) & Counter(due)).values())
    return 2 * shared / (len(words) + len(due)) if words and due else float(words == due)
