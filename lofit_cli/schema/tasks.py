"""Settings of benchmarks that have some of their own."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

from lofit_cli.errors import UserError
from lofit_cli.schema.checks import one_of, within
from lofit_cli.schema.sources import SPLITS, TaskConfig

AnyConfig = TypeVar("AnyConfig", bound=TaskConfig)

FEWEST_TOKENS = 8
"""Of shorter pieces, hardly a token would be predicted from anything."""


def settings_of(config: TaskConfig, kind: type[AnyConfig]) -> AnyConfig:
    """Return a task's settings with those of its own, the usual ones where only the common ones are given."""
    if isinstance(config, kind):
        return config
    usual = asdict(TaskConfig(config.name))
    return kind(config.name, **{name: value for name, value in asdict(config).items() if value != usual[name]})


@dataclass
class SharedOutConfig(TaskConfig):
    """`task=crows_pairs` and `task=stereoset`: one set of items, of which `shares` go to the splits, by their text."""

    shares: dict[str, float] = field(default_factory=lambda: {"train": 0.6, "validation": 0.1, "test": 0.3})

    def __post_init__(self) -> None:
        super().__post_init__()
        for split, share in self.shares.items():
            one_of("task.shares", split, SPLITS)
            within(f"task.shares.{split}", share, 0, 1)
        if abs(sum(self.shares.values()) - 1) > 1e-6:
            raise UserError(f"task.shares={dict(self.shares)} add up to {sum(self.shares.values()):g}; make them 1")


@dataclass
class BbqConfig(TaskConfig):
    """`task=bbq`: the answers that are scored are the options' own words (`spans`) or their `letters`."""

    options: str = "spans"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("task.options", self.options, ("spans", "letters"))


@dataclass
class PerplexityConfig(TaskConfig):
    """`task=perplexity`: a text file, cut into pieces of at most `piece_tokens` tokens, all about alike in length."""

    piece_tokens: int = 256

    @property
    def title(self) -> str:
        """Return the name of the file as well, so that two texts have tables of their own."""
        file = Path(self.data_dir or "")
        return f"{self.name}, {file.name}" if file.suffix else self.name

    def __post_init__(self) -> None:
        super().__post_init__()
        within("task.piece_tokens", self.piece_tokens, FEWEST_TOKENS)
