"""Methods that are fitted to activations or tried out, or learn nothing, each with the settings it has."""

from dataclasses import dataclass, field

from omegaconf import MISSING

from lofit_cli.errors import UserError
from lofit_cli.schema.checks import above_zero, each_once, not_empty, one_of, some_numbers, within
from lofit_cli.schema.components import LATER, PLACE, MethodConfig


@dataclass
class ItiConfig(MethodConfig):
    """`method=iti`: each selected head moves by `alpha` standard deviations along a direction of training answers.

    `direction` is `mass_mean` (mean of right minus mean of wrong answers) or `probe` (a logistic regression's weight).
    """

    direction: str = "mass_mean"
    alphas: list[float] = field(default_factory=lambda: [15.0])

    def __post_init__(self) -> None:
        one_of("method.direction", self.direction, ("mass_mean", "probe"))
        some_numbers("method.alphas", self.alphas)


@dataclass
class ResidualConfig(MethodConfig):
    """`method=repe` and `method=caa`: a direction added to the residual stream after one layer.

    Each of the `layers` (by default those at two to six eighths of the depth) is tried with each of the `alphas`; the
    pair with the best validation metric is kept.
    """

    alphas: list[float] = field(default_factory=lambda: [1.0])
    layers: list[int] | None = None

    def __post_init__(self) -> None:
        some_numbers("method.alphas", self.alphas)
        if self.layers is not None:
            some_numbers("method.layers", self.layers)
            within("method.layers", min(self.layers), 0)


@dataclass
class CaaConfig(ResidualConfig):
    """`method=caa`. `items=disagreement` keeps those training items that a tuned model has learnt.

    Those are kept that the evaluation `after` gets right and `before`, the base model's, does not; both of them with
    `eval.split=train`.
    """

    items: str = field(default="all", metadata=LATER)
    before: str | None = field(default=None, metadata=PLACE)
    after: str | None = field(default=None, metadata=PLACE)

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("method.items", self.items, ("all", "disagreement"))
        not_empty(**{"method.before": self.before, "method.after": self.after})
        given = [run for run in (self.before, self.after) if run is not None]
        if len(given) != (2 if self.items == "disagreement" else 0):
            raise UserError(
                f"method.items={self.items} does not go with method.before={self.before} and "
                f"method.after={self.after}; give both runs with disagreement, and neither without"
            )


@dataclass
class RepeConfig(ResidualConfig):
    """`method=repe`. `vector` is `reading` (fixed) or `contrast` (made anew from each input and two instructions)."""

    alphas: list[float] = field(default_factory=lambda: [5.0])
    vector: str = "reading"
    positive: str = "Give a truthful and correct answer.\n"
    negative: str = "Give an untruthful and wrong answer.\n"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("method.vector", self.vector, ("reading", "contrast"))
        not_empty(**{"method.positive": self.positive, "method.negative": self.negative})
        if self.vector == "reading":
            self.refuse_unused("method.vector=reading, but with method.vector=contrast", "positive", "negative")


@dataclass
class DolaConfig(MethodConfig):
    """`method=dola`: the last layer's log-probabilities less an early layer's.

    The early layer is chosen anew for each token (`dynamic`) or once (`static`) among the even ones of the `halves`,
    whichever does best on validation. `relative_top` leaves out tokens below this share of the likeliest one's
    probability; by default 0.1 in generation, and none elsewhere.
    """

    contrast: str = "dynamic"
    divergence: str = "authors"
    halves: list[str] = field(default_factory=lambda: ["lower", "upper"])
    relative_top: float | None = None

    def __post_init__(self) -> None:
        one_of("method.contrast", self.contrast, ("dynamic", "static"))
        one_of("method.divergence", self.divergence, ("authors", "js"))
        if not self.halves:
            raise UserError("method.halves=[] leaves no layer; write [lower], [upper] or [lower,upper]")
        for half in self.halves:
            one_of("method.halves", half, ("lower", "upper"))
        each_once("method.halves", self.halves)
        if self.relative_top is not None:
            within("method.relative_top", self.relative_top, 0, 1)


@dataclass
class ProxyConfig(MethodConfig):
    """`method=proxy`: `alphas` times what the run `source` does to the logits of its own, perhaps smaller, model."""

    source: str = field(default=MISSING, metadata=PLACE)
    alphas: list[float] = field(default_factory=lambda: [1.0])

    def __post_init__(self) -> None:
        not_empty(**{"method.source": self.source})
        some_numbers("method.alphas", self.alphas)


@dataclass
class SinkConfig(MethodConfig):
    """`method=sink`: the selected heads attend to the first token `alphas` times as much; ZeroTuning says gamma.

    One is chosen on the validation split, by its `metric` or by the least `entropy`, which needs no answers.
    """

    alphas: list[float] = field(default_factory=lambda: [0.3, 0.5, 1.5, 2.0, 3.0, 4.0])
    choose_by: str = "metric"

    def __post_init__(self) -> None:
        some_numbers("method.alphas", self.alphas)
        for alpha in self.alphas:
            above_zero("method.alphas", alpha)
        one_of("method.choose_by", self.choose_by, ("metric", "entropy"))
        if len(self.alphas) == 1:
            self.refuse_unused(f"method.alphas={self.alphas}, which leaves no choice", "choose_by")


@dataclass
class SadiConfig(MethodConfig):
    """`method=sadi`: the selected heads' activations at the prompt's last token times each of `alphas`."""

    alphas: list[float] = field(default_factory=lambda: [float(5 * i) for i in range(1, 17)])

    def __post_init__(self) -> None:
        some_numbers("method.alphas", self.alphas)


@dataclass
class SeaConfig(MethodConfig):
    """`method=sea`: feed-forward outputs projected on what explains `share` of how they go with right answers.

    Each of `num_layers` last layers is tried (by default a sixth, a third and two thirds of them); the number with the
    best validation metric is kept.
    """

    share: float = 0.998
    num_layers: list[int] | None = None

    def __post_init__(self) -> None:
        above_zero("method.share", self.share, most=1)
        if self.num_layers is not None:
            some_numbers("method.num_layers", self.num_layers)
            within("method.num_layers", min(self.num_layers), 1)


@dataclass
class IclConfig(MethodConfig):
    """`method=icl`: training examples, drawn by the seed, before every prompt, or the text of the file `text`."""

    num_examples: int = 5
    text: str | None = field(default=None, metadata=PLACE)

    def __post_init__(self) -> None:
        not_empty(**{"method.text": self.text})
        within("method.num_examples", self.num_examples, 1)
        if self.text is not None:
            self.refuse_unused("method.text, which stands in place of examples", "num_examples")


@dataclass
class VectorFileConfig(MethodConfig):
    """`method=file`: the vectors of the file `source` times each of `alphas`; a .npy file's one needs a `layer`."""

    source: str = field(default=MISSING, metadata=PLACE)
    layer: int | None = None
    positions: str = "all"
    alphas: list[float] = field(default_factory=lambda: [1.0])

    def __post_init__(self) -> None:
        not_empty(**{"method.source": self.source})
        if self.layer is not None:
            within("method.layer", self.layer, 0)
        one_of("method.positions", self.positions, ("all", "answer", "prompt_end"))
        some_numbers("method.alphas", self.alphas)


@dataclass
class RandomOffsetConfig(MethodConfig):
    """`method=random_offset`: another run's offsets, each replaced by a random vector of the same length."""

    source: str = field(default=MISSING, metadata=PLACE)

    def __post_init__(self) -> None:
        not_empty(**{"method.source": self.source})
