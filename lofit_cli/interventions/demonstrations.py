"""No edit of the model at all: text before each prompt, or nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from lofit_cli.interventions.intervention import Intervention
from lofit_cli.interventions.saved import require_settings, require_tensors
from lofit_cli.models.hooks import hooked_call
from lofit_cli.models.language_model import LanguageModel


class Demonstrations(Intervention):
    """Answered examples before every prompt (in-context learning); without any, the model as it is."""

    kind = "demonstrations"

    def __init__(self, demonstrations: str = "") -> None:
        super().__init__()
        self.demonstrations = demonstrations

    @contextmanager
    def attach(self, lm: LanguageModel) -> Iterator[None]:
        """Leave the model alone, and show the text before what `lm.generate` is asked.

        A forward pass of someone else's would leave it out without a word; it is refused.
        """
        if not self.demonstrations:
            yield
            return

        def require_ours(inputs: dict[str, Any]) -> None:
            lm.token_positions.read()

        with lm.showing(self.demonstrations), hooked_call(lm.model, require_ours):
            yield

    def settings(self) -> dict[str, Any]:
        """Return the text."""
        return {"demonstrations": self.demonstrations}

    @classmethod
    def restore(cls, lm: LanguageModel, settings: dict[str, Any], tensors: dict[str, Tensor]) -> "Demonstrations":
        """Make it again."""
        require_settings(settings, demonstrations=str)
        require_tensors(tensors, {})
        return cls(**settings)
