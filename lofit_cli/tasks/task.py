"""What every benchmark answers for itself: what it asks, what the answers are, what an outcome is worth."""

import random
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar

from lofit_cli.artifacts.files import content_hash
from lofit_cli.artifacts.predictions import Prediction
from lofit_cli.errors import UserError, beginning
from lofit_cli.prompts import NOTHING, Prompt, Turn, ask
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks.same_text import same_text

SAMPLING_SEED = 42
PLACES = ("fold", "data_dir", "files", "hub_id")
DRAWN = {"train": "num_train", "test": "num_test"}
"""Split -> the setting that says how many of its items are drawn."""


TokenEnds = Callable[[str], Sequence[int]]
"""A text -> for each of its tokens how many of its characters that one and those before it cover."""


class Example(NamedTuple):
    """A training item: a prompt, its chosen answers and, after them, its rejected ones."""

    prompt: Prompt
    answers: tuple[str, ...]
    num_chosen: int


@dataclass(frozen=True)
class Item:
    """What is measured once: a question, a story. The model sees `text`; a benchmark's own form adds the rest.

    Attributes:
        turns: what it is in a conversation, where that is more than its text as one turn of the user's.
        asked: what it asks without the frame that stands around it in `text`, where the user gave that.
        source: the file and row that it stands in, where these are the user's own.
    """

    id: str
    category: str
    text: str
    turns: tuple[Turn, ...] = field(default=(), kw_only=True)
    asked: str = field(default="", kw_only=True, compare=False)
    source: str = field(default="", kw_only=True, compare=False)

    @property
    def name(self) -> str:
        """Return its id with its place and the beginning of its text, as sentences name it."""
        return f"{self.id} ({self.source}{', ' * bool(self.source)}'{beginning(self.shown)}')"

    @property
    def shown(self) -> str:
        """Return what it asks as people read it: without the frame that a question stands in for a base model."""
        return self.turns[0].content if len(self.turns) == 1 else self.text

    @property
    def prompt(self) -> Prompt:
        """Return its text as a prompt."""
        return Prompt(self.text, self.turns or ask(self.text).turns)

    def content(self) -> dict[str, Any]:
        """Return all that its row says; turns only where it has more to say in a conversation than its text."""
        said = {key: value for key, value in asdict(self).items() if key not in ("asked", "source")}
        return {key: value for key, value in said.items() if key != "turns" or value}

    def measured_by(self) -> dict[str, Any]:
        """Return what the item's metrics depend on; what training alone sees is left out."""
        return self.content()

    @property
    def fingerprint(self) -> str:
        """Return what tells this item from others, whatever its file calls it and however it was typed and framed."""
        return content_hash(same_text(self.asked or self.text))[:16]

    def asking_as(self, other: Self) -> Self:
        """Return the item with what another one asks in place of its own."""
        return replace(self, text=other.text, turns=other.turns, asked=other.asked)

    @property
    def is_ambiguous(self) -> bool:
        """Return whether an answer is listed as right and as wrong."""
        return False


AnyItem = TypeVar("AnyItem", bound=Item)


@dataclass(frozen=True)
class Task(ABC, Generic[AnyItem]):
    """A benchmark, split into train, validation and test.

    What training minimises and how the result is measured are two things: a question trained on in pairs (`dpo`) can be
    measured by its answers' scores or by what the model generates.

    Attributes:
        likelihoods: for each split, of each item's right answers, their mean log-probability per token under other
            models, if right answers are weighed by it.
        generates: whether the model's own line is the outcome; otherwise the log-probabilities of an item's answers.
        can_be_judged: whether what is generated answers a question openly, so that a judge can be asked about it.
        can_swap_questions: whether `task.swap_questions` is for it.
        scores_whole_texts: whether its answers are texts of their own, scored without a prompt.
    """

    config: TaskConfig
    splits: dict[str, list[AnyItem]]
    likelihoods: dict[str, list[list[float]]] = field(default_factory=dict, kw_only=True)
    generates: ClassVar[bool]
    can_be_judged: ClassVar[bool] = False
    can_swap_questions: ClassVar[bool] = False
    scores_whole_texts: ClassVar[bool] = False

    @property
    @abstractmethod
    def objective(self) -> str:
        """Return what training minimises: `dpo` (chosen against rejected answers) or `sft` (the chosen answer)."""

    @property
    @abstractmethod
    def metrics(self) -> tuple[str, ...]:
        """Return the names of what is measured on each item; the first is the headline.

        A value lies on the `metric_scale` of its name: in [0, 1], or in [-1, 1] where the name ends in `_diff`.
        """

    @property
    def name(self) -> str:
        """Return what tables and messages call it."""
        return self.config.title

    def protocol(self, asked_for: str, split: str) -> str:
        """Return how items are measured, as the manifest says it: runs of other protocols are never compared.

        Args:
            asked_for: the name of the prompt, for tasks that have a choice of them.
        """
        return "zero-shot"

    def prompt(self, item: AnyItem, protocol: str, demonstrations: Prompt = NOTHING) -> Prompt:
        """Return what the model is shown of an item, `demonstrations` (answered examples) before it."""
        return demonstrations + item.prompt

    def answers(self, item: AnyItem) -> tuple[str, ...]:
        """Return the continuations whose log-probabilities are asked for; for tasks that are scored only."""
        raise NotImplementedError(f"{self.name} has no answers to score")

    def asked(self, item: AnyItem, protocol: str, demonstrations: Prompt = NOTHING) -> tuple[Prompt, tuple[str, ...]]:
        """Return what the model is shown of an item, and the continuations of it that are scored."""
        return self.prompt(item, protocol, demonstrations), self.answers(item)

    @property
    def knows_items(self) -> bool:
        """Return whether its items are known, which pieces of a text are not before a tokenizer has cut it."""
        return True

    def cut(self, token_ends: TokenEnds, most: int = sys.maxsize) -> "Task[AnyItem]":
        """Return the task with its items as a tokenizer makes them, where these are pieces of so many tokens.

        Args:
            most: how many tokens of a piece a model has positions for.
        """
        return self

    def derive(self, predictions: Sequence[Prediction]) -> dict[str, float]:
        """Return what follows from all items together and is no mean over them: name -> value."""
        return {}

    @abstractmethod
    def predict(self, item: AnyItem, outcome: Any) -> Prediction:
        """Return an item with its outcome and the metrics that follow.

        Args:
            outcome: the line generated after the prompt, or the answers' log-probabilities (natural logs, summed over
                an answer's tokens) in the order of `answers`.
        """

    @abstractmethod
    def examples(self, split: str) -> list[Example]:
        """Return what training sees of a split."""

    def contrasts(self, split: str) -> list[Example]:
        """Return each prompt of a split with all its right answers and all its wrong ones, for probes."""
        return self.examples(split)

    def settings(self) -> dict[str, Any]:
        """Return the settings that shape what is trained on, whatever the fold and wherever the files lie."""
        return {key: value for key, value in asdict(self.config).items() if key not in (*PLACES, "num_test")}

    def items_hash(self) -> str:
        """Return a hash of all items, whichever split holds them, so that the folds of one benchmark agree in it."""
        return content_hash(sorted(self.fingerprints(*self.splits)))[:12]

    def facts(self) -> dict[str, Any]:
        """Return what the manifest states of a task, with a hash of every item of every split."""
        content = {name: [item.content() for item in items] for name, items in self.splits.items()}
        about = {key: getattr(self.config, key) for key in ("fold", "num_train")}
        return {"task": self.name, **about, "dataset_hash": content_hash(content)}

    def questions_hash(self, split: str) -> str:
        """Return a hash of what is measured of a split: runs that agree in it can be paired, whatever they train on."""
        return content_hash([item.measured_by() for item in self.items(split)])

    def items(self, split: str) -> list[AnyItem]:
        """Return a split's items; of the training and test items as many as are asked for, drawn alike for every run.

        Raises:
            UserError: the split holds none, or fewer than that.
        """
        items = self.splits.get(split)
        if not items:
            raise UserError(f"task '{self.name}' has no questions in its {split} split{self._why_empty(split)}")
        key = DRAWN.get(split, "")
        size = getattr(self.config, key, None)
        if size is None:
            return items
        if size > len(items):
            kind = "training" if split == "train" else split
            raise UserError(f"task.{key}={size} is more than the {len(items)} {kind} items of '{self.name}'")
        return random.Random(SAMPLING_SEED).sample(items, size)

    def with_items(self, splits: Mapping[str, Sequence[AnyItem]]) -> Self:
        """Return the task with these items only, as `items` gave them: all are drawn, and none is swapped again."""
        config = replace(self.config, num_train=None, num_test=None, swap_questions=[])
        return replace(self, splits={split: list(items) for split, items in splits.items()}, config=config)

    def _why_empty(self, split: str) -> str:
        """Return the rest of a sentence that says what may be done about a split without items."""
        shares: dict[str, float] | None = getattr(self.config, "shares", None)
        if shares is None:
            return "; check task.data_dir"
        given = f"{shares.get(split, 0):g}"
        return f", to which task.shares gives {given} of all rows; raise that share, or check task.data_dir"

    def fingerprints(self, *splits: str) -> set[str]:
        """Return the fingerprints of all items of these splits, as far as there are any."""
        return {item.fingerprint for split in splits for item in self.splits.get(split, [])}
