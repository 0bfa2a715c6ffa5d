"""A plain text in pieces, each scored as a whole: what an edit does to text that it was not trained for."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from lofit_cli.artifacts.predictions import PERPLEXITY, TOKEN_LOGPROB, LogProb, Prediction, ScoredAnswers
from lofit_cli.errors import UserError, beginning
from lofit_cli.prompts import WHOLE_TEXT, Prompt
from lofit_cli.schema.tasks import PerplexityConfig
from lofit_cli.tasks.task import Example, Item, Task, TokenEnds


@dataclass(frozen=True)
class Piece(Item):
    """A part of a text, which is scored as a text of its own."""

    @property
    def prompt(self) -> Prompt:
        """Return the prompt of texts that have none."""
        return WHOLE_TEXT


@dataclass(frozen=True)
class PiecesTask(Task[Piece]):
    """A text whose tokens are scored; nothing is trained on it.

    Attributes:
        is_cut: whether its items are pieces; before that the whole text is one.
    """

    config: PerplexityConfig
    is_cut: bool = False
    objective = "sft"
    generates = False
    scores_whole_texts = True

    @property
    def knows_items(self) -> bool:
        """Return whether its text is cut."""
        return self.is_cut

    @property
    def metrics(self) -> tuple[str, ...]:
        """Return the mean log-probability of a token."""
        return (TOKEN_LOGPROB,)

    def protocol(self, asked_for: str, split: str) -> str:
        """Return what is scored of an item."""
        return f"pieces of {self.config.piece_tokens} tokens"

    def items(self, split: str) -> list[Piece]:
        """Return the pieces, as many as are asked for.

        Raises:
            UserError: the split is not `test`.
        """
        if split != "test":
            raise UserError(
                f"task '{self.config.name}' has a text to measure and no {split} split; train on another task and "
                f"evaluate its run here: lofit evaluate task={self.config.name} intervention=DIR"
            )
        return super().items(split) if self.is_cut else self.splits[split]

    def cut(self, token_ends: TokenEnds, most: int = sys.maxsize) -> "PiecesTask":
        """Return the task with its text in pieces, each at most `task.piece_tokens` long.

        Raises:
            UserError: the model has no positions for so many tokens.
        """
        (whole,) = self.splits["test"]
        # What every text begins with covers none of its characters.
        ends = [end for end in token_ends(whole.text) if end]
        if (size := min(self.config.piece_tokens, len(ends))) > most:
            raise UserError(
                f"task.piece_tokens={self.config.piece_tokens} makes pieces of {size} tokens, and the model has "
                f"positions for {most}; lower it to that or less"
            )
        texts = cut_text(whole.text, ends, self.config.piece_tokens)
        pieces = [Piece(f"piece-{i}", whole.category, text) for i, text in enumerate(texts)]
        return replace(self, splits={"test": pieces}, is_cut=True)

    def answers(self, item: Piece) -> tuple[str, ...]:
        """Return the piece."""
        return (item.text,)

    def examples(self, split: str) -> list[Example]:
        """Return nothing: `items` refuses what could be trained on."""
        return [Example(item.prompt, self.answers(item), 1) for item in self.items(split)]

    def predict(self, item: Piece, outcome: list[LogProb]) -> ScoredAnswers:
        """Return a piece with its log-probability."""
        metrics = {TOKEN_LOGPROB: float(outcome[0]) / outcome[0].num_tokens}
        return ScoredAnswers(item.id, item.category, beginning(item.text), metrics, [item.text], [True], [*outcome])

    def derive(self, predictions: Sequence[Prediction]) -> dict[str, float]:
        """Return the perplexity: the exponential of minus the mean."""
        mean = sum(p.metrics[TOKEN_LOGPROB] for p in predictions) / len(predictions)
        return {PERPLEXITY: math.exp(-mean)}


def cut_text(text: str, token_ends: Sequence[int], most: int) -> list[str]:
    """Return a text in pieces that end where tokens end, all of about as many tokens, and no more than `most`.

    They are alike in length so that their mean is the mean over tokens. Tokenised on its own, a piece may begin with
    another token, and so have one more or one less.

    Args:
        token_ends: how many characters each token and those before it cover.
    """
    number = math.ceil(len(token_ends) / most)
    ends = [0, *(token_ends[len(token_ends) * i // number - 1] for i in range(1, number)), len(text)]
    pieces = (text[start:end].strip() for start, end in pairwise(ends))
    return [piece for piece in pieces if piece]
