"""What `lofit describe` finds, as `description.json` holds it: what edits of a model change on other text."""

from collections.abc import Sequence
from dataclasses import dataclass

FILE_NAME = "description.json"
RUN, CONTROL, NULL = "run", "control", "null"
"""What is described: the run that was asked about, a run that was named as a control, random directions."""

Cosines = list[list[float | None]]
"""Between each two of some differences."""


@dataclass(frozen=True)
class ShownToken:
    """A token of the vocabulary with a number, which the list that it stands in explains.

    Attributes:
        in_answers: whether it is over-represented in the training answers of the run that was asked about.
    """

    text: str
    id: int
    value: float
    in_answers: bool


def count_in_answers(tokens: Sequence[ShownToken]) -> int:
    """Return how many of some tokens are over-represented in the run's answers."""
    return sum(token.in_answers for token in tokens)


@dataclass(frozen=True)
class ShiftedToken:
    """A token that the edited model says where the model as it is would not.

    Attributes:
        count: how often it was shifted.
        median_rank: among those times, its rank under the model as it is.
    """

    text: str
    id: int
    count: int
    median_rank: float


@dataclass(frozen=True)
class TokenShift:
    """How the edited model's greedy continuations look to the model as it is.

    Attributes:
        unshifted, marginal, shifted: shares of the tokens whose rank is 1, 2 or 3, and above 3.
        kl: of the edited model's next token from that of the model as it is, in nats, by position; a mean over texts.
        num_texts: how many continuations have that position.
        tokens: the most often shifted.
    """

    num_tokens: int
    unshifted: float
    marginal: float
    shifted: float
    kl: list[float]
    num_texts: list[int]
    tokens: list[ShiftedToken]

    @property
    def mean_kl(self) -> float:
        """Return the mean over all tokens, in nats."""
        return sum(kl * count for kl, count in zip(self.kl, self.num_texts, strict=True)) / max(1, self.num_tokens)


@dataclass(frozen=True)
class Mining:
    """Which tokens an edit makes likelier most often.

    Attributes:
        num_places: at how many tokens of the texts was looked.
        tokens: with the number of places at which they are among the most raised.
    """

    num_places: int
    tokens: list[ShownToken]


@dataclass(frozen=True)
class Lens:
    """A difference of hidden states, read as a distribution over the vocabulary.

    Attributes:
        position: of the text's token; None for the mean over those that are averaged.
        raised, lowered: the likeliest tokens of the difference and of its opposite, with probabilities.
    """

    position: int | None
    raised: list[ShownToken]
    lowered: list[ShownToken]


@dataclass(frozen=True)
class PatchscopeReading:
    """What the model says next where a difference stands in the place of a token's hidden state.

    Attributes:
        strength: its length, in units of the usual hidden state's.
        num_shared: how many tokens are among the likeliest after every prompt.
        tokens: the likeliest of these, with their mean probabilities.
    """

    strength: float
    num_shared: int
    tokens: list[ShownToken]


@dataclass(frozen=True)
class OffsetTokens:
    """The tokens that the offset of one head points at, with probabilities."""

    layer: int
    head: int
    tokens: list[str]
    probabilities: list[float]


@dataclass(frozen=True)
class Described:
    """A row of the tables, before anything is known of it.

    Attributes:
        kind: `run`, `control` or `null`.
        path: of its run directory; of a null the one that it is drawn after.
        method, task, seed: of the run; a null has the run's.
    """

    label: str
    kind: str
    path: str
    method: str
    task: str
    seed: int


@dataclass(frozen=True)
class Description(Described):
    """What one edit changes.

    Attributes:
        norms: (num_layers, positions) lengths of the mean differences of hidden states, in units of `units`.
        layer_norms: (num_layers,) the means of `norms` over the positions that are averaged.
        units: (num_layers,) the mean length of the edited model's hidden states at later tokens.
        lenses: of the mean over positions, then of each.
        offsets: for edits with offsets on heads.
        answer_shares: `lens`, `mining`, `patchscope` -> the share of its tokens that is over-represented in the
            training answers of the run that was asked about; empty where these are not known.
    """

    shift: TokenShift
    mining: Mining
    norms: list[list[float]]
    layer_norms: list[float]
    units: list[float]
    lenses: list[Lens]
    readings: list[PatchscopeReading]
    offsets: list[OffsetTokens]
    answer_shares: dict[str, float]

    @property
    def lens(self) -> Lens:
        """Return the lens of the mean over positions."""
        return self.lenses[0]

    @property
    def reading(self) -> PatchscopeReading | None:
        """Return the patchscope's reading that its prompts agree about most."""
        return choose_reading(self.readings)


def choose_reading(readings: Sequence[PatchscopeReading]) -> PatchscopeReading | None:
    """Return the reading with most tokens that all prompts share, of several the weakest; None of none."""
    return max(readings, key=lambda reading: (reading.num_shared, -reading.strength), default=None)


@dataclass(frozen=True)
class TextFacts:
    """The texts that were read.

    Attributes:
        source: the file, or what our own texts are.
        text_hash: of the texts as they were read.
        num_texts: how many; `num_continued` of them were continued.
        num_tokens: of all of them.
    """

    source: str
    text_hash: str
    num_texts: int
    num_continued: int
    num_tokens: int


@dataclass(frozen=True)
class Descriptions:
    """A run and its controls.

    Attributes:
        layer: after which the differences are read.
        max_new_tokens: how many tokens continue a text at most.
        top_k: how many of the most raised tokens count in mining, and of the likeliest in the patchscope.
        rows: the run first.
        positions: of the first tokens whose differences are averaged.
        cosines: (rows, rows) between the mean differences after `layer`; None where one is 0.
        cosines_by_position: the same at each of the first tokens.
        num_over_represented: how many words are over-represented in the run's training answers.
        note: why these answers are not known; empty where they are.
    """

    model: str
    layer: int
    positions: list[int]
    texts: TextFacts
    max_new_tokens: int
    top_k: int
    seed: int
    rows: list[Description]
    cosines: Cosines
    cosines_by_position: list[Cosines]
    num_over_represented: int
    note: str

    @property
    def run(self) -> Description:
        """Return the run that was asked about."""
        return self.rows[0]
