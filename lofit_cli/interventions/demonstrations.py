"""No edit of the model at all: text before each prompt, or nothing."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor

from lofit_cli.interventions.intervention import Intervention
from lofit_cli.interventions.saved import require_settings, require_tensors
from lofit_cli.models.language_model import LanguageModel


class Demonstrations(Intervention):
    """Answered examples before every prompt (in-context learning); without any, the model as it is."""

    kind = "demonstrations"

    def __init__(self, demonstrations: str = "") -> None:
        super().__init__()
        self.demonstrations = demonstrations

    def attach(self, lm: LanguageModel) -> AbstractContextManager[None]:
        """Leave the model alone."""
        return nullcontext()

    def settings(self) -> dict[str, Any]:
        """Return the text."""
        return {"demonstrations": self.demonstrations}

    @classmethod
    def restore(cls, lm: LanguageModel, settings: dict[str, Any], tensors: dict[str, Tensor]) -> "Demonstrations":
        """Make it again."""
        require_settings(settings, demonstrations=str)
        require_tensors(tensors, {})
        return cls(**settings)
