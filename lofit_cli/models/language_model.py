"""A decoder that answers prompts."""

from collections.abc import Sequence
from dataclasses import dataclass

from lofit_cli.errors import UserError
from lofit_cli.models.continuation import Write
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.generation import generate_texts
from lofit_cli.prompts import NOTHING, Prompt, as_prompt
from lofit_cli.schema.checks import within


@dataclass(frozen=True)
class LanguageModel(Decoder):
    """A decoder that answers prompts, under what is attached to it."""

    def generate(
        self, prompts: str | Prompt | Sequence[str | Prompt], max_new_tokens: int = 32, write: Write | None = None
    ) -> list[str]:
        """Return what the model says after each prompt, greedily, up to the end of its turn.

        Whatever is attached acts where it was made to act, and demonstrations stand before each prompt.

        Args:
            write: called with the text so far, again and again, where there is one prompt.

        Raises:
            UserError: a prompt has no text, or is longer than the model has positions for.
            RunError: the likeliest token's logit is not finite.
        """
        within("max_new_tokens", max_new_tokens, 1)
        before = sum(self.shown, NOTHING)
        listed = [prompts] if isinstance(prompts, str | Prompt) else prompts
        if write and len(listed) != 1:
            raise UserError(f"write is for one prompt, and there are {len(listed)}; call generate for each")
        return generate_texts(self, [before + as_prompt(prompt) for prompt in listed], max_new_tokens, write=write)
