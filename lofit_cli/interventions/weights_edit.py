"""Full fine-tuning: the model's own weights, replaced by trained ones."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from lofit_cli.interventions.intervention import Intervention
from lofit_cli.interventions.saved import require_settings, require_tensors, require_weights
from lofit_cli.models.decoder import Decoder


class WeightsEdit(Intervention):
    """Every weight of the model, in the model's order; tied weights stay tied."""

    kind = "weights_edit"

    def __init__(self, weights: list[Tensor]) -> None:
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(weight) for weight in weights)

    @classmethod
    def copy_of(cls, lm: Decoder) -> "WeightsEdit":
        """Return the edit that changes nothing."""
        require_weights(lm, "full fine-tuning")
        return cls([weight.detach().clone() for weight in lm.model.parameters()])

    @contextmanager
    def attach(self, lm: Decoder) -> Iterator[None]:
        """Put the weights in the place of the model's, and the model's back."""
        old = list(lm.model.parameters())
        _replace(lm.model, old, list(self.weights))
        try:
            yield
        finally:
            _replace(lm.model, list(self.weights), old)

    def settings(self) -> dict[str, Any]:
        """Return nothing: the weights are all there is."""
        return {}

    @classmethod
    def restore(cls, lm: Decoder, settings: dict[str, Any], tensors: dict[str, Tensor]) -> "WeightsEdit":
        """Make it again, refusing weights of another model."""
        require_settings(settings)
        require_weights(lm, "full fine-tuning")
        shapes = {f"weights.{i}": tuple(weight.shape) for i, weight in enumerate(lm.model.parameters())}
        return cls(list(require_tensors(tensors, shapes, lm.model.dtype).values())).placed(lm)

    def placed(self, lm: Decoder) -> "WeightsEdit":
        """Return itself, each weight on the device of the one that it stands in for."""
        for weight, own in zip(self.weights, lm.model.parameters(), strict=True):
            weight.data = weight.data.to(own.device)
        return self


def _replace(model: nn.Module, old: list[nn.Parameter], new: list[nn.Parameter]) -> None:
    """Put each new parameter wherever the model holds the old one, so that tied ones stay tied."""
    by_id = {id(before): after for before, after in zip(old, new, strict=True)}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, by_id[id(parameter)])
