"""BitFit: every linear map and every normalisation's bias, and nothing else, is trained."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lofit_cli.interventions.intervention import Intervention
from lofit_cli.interventions.saved import require_settings, require_tensors
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.hooks import Hook, hooked_output


class BiasEdit(Intervention):
    """A vector added to the output of each linear map inside the layers, and to each bias that a norm has.

    A map without a bias has one of 0, so that families without biases can be tuned as well.

    Source: BitFit (arXiv 2106.10199), section 2.
    """

    kind = "bias_edit"

    def __init__(self, biases: list[Tensor]) -> None:
        super().__init__()
        self.biases = nn.ParameterList(biases)

    @classmethod
    def zero(cls, lm: Decoder) -> "BiasEdit":
        """Return the edit that changes nothing."""
        return cls([torch.zeros(_width(module), device=lm.device) for module in biased_modules(lm)])

    @contextmanager
    def attach(self, lm: Decoder) -> Iterator[None]:
        """Add each vector to its module's output."""
        with ExitStack() as stack:
            for module, bias in zip(biased_modules(lm), self.biases, strict=True):
                stack.enter_context(hooked_output(module, _add(bias)))
            yield

    def settings(self) -> dict[str, Any]:
        """Return nothing: the vectors are all there is."""
        return {}

    @classmethod
    def restore(cls, lm: Decoder, settings: dict[str, Any], tensors: dict[str, Tensor]) -> "BiasEdit":
        """Make it again, refusing vectors that do not fit the model's maps."""
        require_settings(settings)
        shapes = {f"biases.{i}": (_width(module),) for i, module in enumerate(biased_modules(lm))}
        return cls(list(require_tensors(tensors, shapes).values()))


def _add(bias: Tensor) -> Hook:
    def edit(output: Tensor) -> Tensor:
        return (output.float() + bias.to(output.device)).to(output.dtype)

    return edit


def biased_modules(lm: Decoder) -> list[nn.Module]:
    """Return the linear maps of all layers and the norms that have a bias, in the model's order."""
    modules = [module for layer in lm.layers for module in layer.modules()]
    return [m for m in modules if isinstance(m, nn.Linear | Conv1D) or _is_norm_with_bias(m)]


def _is_norm_with_bias(module: nn.Module) -> bool:
    bias, weight = (getattr(module, name, None) for name in ("bias", "weight"))
    return isinstance(bias, Tensor) and isinstance(weight, Tensor) and weight.ndim == 1


def _width(module: nn.Module) -> int:
    """Return how many numbers a module puts out for a token."""
    if isinstance(module, nn.Linear):
        return module.out_features
    return int(module.nf) if isinstance(module, Conv1D) else len(cast(Tensor, module.weight))
