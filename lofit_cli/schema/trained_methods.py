"""Methods whose numbers are trained, each with the settings it has."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from lofit_cli.errors import UserError
from lofit_cli.schema.checks import above_zero, not_empty, one_of, some_numbers, within
from lofit_cli.schema.components import LATER, PLACE, MethodConfig
from lofit_cli.schema.limits import FAR


@dataclass
class LofitConfig(MethodConfig):
    """`method=lofit`: offsets start as `random` numbers, as `alpha` times ITI's steps (`iti`), or as another run's.

    With the name of a run, heads that it has no offset of start at random.
    """

    init: str = field(default="random", metadata=PLACE)
    alpha: float = field(default=15.0, metadata=LATER)

    def __post_init__(self) -> None:
        not_empty(**{"method.init": self.init})
        some_numbers("method.alpha", [self.alpha])
        if self.init != "iti":
            self.refuse_unused(f"method.init={self.init}, but with method.init=iti", "alpha")


@dataclass
class PeftMethodConfig(MethodConfig):
    """`method=lora` and `method=peft`: any configuration of the peft library that changes modules."""

    config: Any = MISSING

    def __post_init__(self) -> None:
        if not isinstance(self.config, dict) or "peft_type" not in self.config:
            raise UserError(
                f"method.config={self.config} names no peft_type; write for example 'method.config={{peft_type: IA3}}'"
            )


@dataclass
class RedConfig(MethodConfig):
    """`method=red`: a scale and an offset on every head of `all` layers or of the `upper_half`."""

    layers: str = "all"

    def __post_init__(self) -> None:
        one_of("method.layers", self.layers, ("all", "upper_half"))


@dataclass
class LoreftConfig(MethodConfig):
    """`method=loreft`: a low-rank edit after every layer, at the first and last tokens of the prompt."""

    rank: int = 8
    num_first: int = 1
    num_last: int = 1

    def __post_init__(self) -> None:
        within("method.rank", self.rank, 1)
        within("method.num_first", self.num_first, 0)
        within("method.num_last", self.num_last, 0, FAR)
        if self.num_first + self.num_last == 0:
            raise UserError("method.num_first=0 and method.num_last=0 leave nothing to edit; set one of them above 0")


@dataclass
class BipoConfig(MethodConfig):
    """`method=bipo`: a vector after one layer, by default that at 15/32 of the depth, by BiPO's `loss` or by `reps`."""

    layer: int | None = None
    loss: str = "bipo"

    def __post_init__(self) -> None:
        one_of("method.loss", self.loss, ("bipo", "reps"))
        if self.layer is not None:
            within("method.layer", self.layer, 0)


@dataclass
class JolaConfig(MethodConfig):
    """`method=jola`: a scale and an offset of every head behind learnt gates, with `strength` times JoLA's penalty."""

    strength: float = 1.0

    def __post_init__(self) -> None:
        within("method.strength", self.strength, 0)


@dataclass
class PrefixConfig(MethodConfig):
    """`method=prefix`: learnt keys and values before every text, at `num_vectors` places in every layer."""

    num_vectors: int = 20

    def __post_init__(self) -> None:
        within("method.num_vectors", self.num_vectors, 1)


@dataclass
class PromptConfig(MethodConfig):
    """`method=prompt`: `num_vectors` learnt vectors before every text.

    With a `rank`, DePT: a product of that rank is added to the embeddings of the text's first `num_shifted` tokens, and
    learnt at `low_rank_rate` times the trainer's rate.
    """

    num_vectors: int = 20
    rank: int = 0
    num_shifted: int = 256
    low_rank_rate: float = 0.1

    def __post_init__(self) -> None:
        for key in ("num_vectors", "num_shifted"):
            within(f"method.{key}", getattr(self, key), 1)
        within("method.rank", self.rank, 0)
        above_zero("method.low_rank_rate", self.low_rank_rate)
        if not self.rank:
            self.refuse_unused("method.rank=0, which is plain prompt tuning", "num_shifted", "low_rank_rate")
