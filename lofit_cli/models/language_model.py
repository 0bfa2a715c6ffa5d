"""A decoder that answers prompts."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from lofit_cli.models.decoder import Decoder
from lofit_cli.models.generation import generate_texts
from lofit_cli.schema.checks import within


@dataclass(frozen=True)
class LanguageModel(Decoder):
    """A decoder to which interventions are attached, and which answers prompts under them.

    Attributes:
        shown: the demonstrations of what is attached.
    """

    shown: list[str] = field(default_factory=list)

    def generate(self, prompts: str | Sequence[str], max_new_tokens: int = 32) -> list[str]:
        """Return what the model says after each prompt, greedily, up to the end of its turn.

        Whatever is attached acts where it was made to act, and demonstrations stand before each prompt.

        Raises:
            UserError: a prompt has no text, or is longer than the model has positions for.
            RunError: the likeliest token's logit is not finite.
        """
        within("max_new_tokens", max_new_tokens, 1)
        before = "".join(self.shown)
        listed = [prompts] if isinstance(prompts, str) else prompts
        return generate_texts(self, [before + prompt for prompt in listed], max_new_tokens)

    @contextmanager
    def showing(self, demonstrations: str) -> Iterator[None]:
        """Put demonstrations before each prompt of `generate` inside a `with` block."""
        self.shown.append(demonstrations)
        try:
            yield
        finally:
            self.shown.pop()
