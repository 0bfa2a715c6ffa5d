"""No edit of the model at all: text before each prompt, or nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from lofit_cli.errors import UserError
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.interventions.saved import require_settings, require_tensors
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.hooks import hooked_call
from lofit_cli.prompts import NOTHING, Prompt, Turn


class Demonstrations(Intervention):
    """Answered examples before every prompt (in-context learning); without any, the model as it is."""

    kind = "demonstrations"
    edits_parts = True

    def __init__(self, demonstrations: Prompt = NOTHING) -> None:
        super().__init__()
        self.demonstrations = demonstrations

    @contextmanager
    def attach(self, lm: Decoder) -> Iterator[None]:
        """Leave the model alone, and show the text before what `lm.generate` is asked.

        A forward pass of someone else's would leave it out without a word; it is refused.

        Raises:
            UserError: it is a text that no turn holds, and the model is asked in turns.
        """
        if self.demonstrations == NOTHING:
            yield
            return
        if lm.chat and not self.demonstrations.turns:
            raise UserError(
                "method.text of this run is a text, and with model.chat_template=true prompts are turns; set "
                "model.chat_template=false, or name another run"
            )

        def require_ours(inputs: dict[str, Any]) -> None:
            lm.token_positions.read()

        with lm.showing(self.demonstrations), hooked_call(lm.model, require_ours):
            yield

    def settings(self) -> dict[str, Any]:
        """Return the text, and the turns that it is in a conversation."""
        return {"text": self.demonstrations.text, "turns": [list(turn) for turn in self.demonstrations.turns]}

    @classmethod
    def restore(cls, lm: Decoder, settings: dict[str, Any], tensors: dict[str, Tensor]) -> "Demonstrations":
        """Make it again."""
        # Turns that a row holds are no text of a base model's.
        is_conversation = isinstance(settings, dict) and settings.get("text", "") is None
        require_settings({**settings, "text": ""} if is_conversation else settings, text=str, turns=list)
        require_tensors(tensors, {})
        if not all(isinstance(turn, list) and [*map(type, turn)] == [str, str] for turn in settings["turns"]):
            raise UserError("its setting turns must be a list of pairs of texts; make it again")
        return cls(Prompt(settings["text"], tuple(Turn(*turn) for turn in settings["turns"])))
