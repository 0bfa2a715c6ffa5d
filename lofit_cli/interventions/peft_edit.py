"""Adapters of the peft library: LoRA, IA3 and every other one that changes modules."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import peft
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from torch import Tensor, nn

from lofit_cli.errors import UserError, did_you_mean
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.models.logprobs import LanguageModel


class PeftEdit(Intervention):
    """An adapter, put into the model while it is attached.

    Attributes:
        config: the adapter's configuration, as keyword arguments of the peft library with its `peft_type`.
    """

    kind = "peft_edit"

    def __init__(self, config: dict[str, Any], names: list[str], weights: Sequence[Tensor]) -> None:
        super().__init__()
        self.config, self.names = config, names
        self.weights = nn.ParameterList(weights)
        self._dropouts: list[nn.Module] = []

    @classmethod
    def initial(cls, lm: LanguageModel, config: dict[str, Any]) -> "PeftEdit":
        """Return the adapter as the peft library initialises it, its weights in float32."""
        with _injected(lm, config) as adapted:
            trained = {name: weight for name, weight in adapted.named_parameters() if weight.requires_grad}
            weights = [nn.Parameter(weight.detach().float().clone()) for weight in trained.values()]
            return cls(config, list(trained), weights)

    @contextmanager
    def attach(self, lm: LanguageModel) -> Iterator[None]:
        """Put the adapter's modules into the model, with these weights, and take them out again."""
        with _injected(lm, self.config) as adapted:
            for name, weight in zip(self.names, self.weights, strict=True):
                owner, _, leaf = name.rpartition(".")
                setattr(adapted.get_submodule(owner), leaf, weight)
            self._dropouts = [m for name, m in adapted.named_modules() if "dropout" in name and "lora" in name]
            self.train(self.training)
            yield
        self._dropouts = []

    def train(self, mode: bool = True) -> "PeftEdit":
        """Turn the adapter's own dropout on or off; the model's stays off."""
        super().train(mode)
        for dropout in self._dropouts:
            dropout.train(mode)
        return self

    def settings(self) -> dict[str, Any]:
        """Return the configuration and the names of the weights."""
        return {"config": self.config, "names": self.names}

    @classmethod
    def restore(cls, lm: LanguageModel, settings: dict[str, Any], tensors: dict[str, Tensor]) -> "PeftEdit":
        """Make it again, refusing weights of another model."""
        edit = cls.initial(lm, settings["config"])
        weights = [tensors[f"weights.{i}"] for i in range(len(tensors))]
        if edit.names != settings["names"] or [w.shape for w in edit.weights] != [w.shape for w in weights]:
            raise UserError("its adapter does not fit this model; use the model it was made for")
        return cls(**settings, weights=weights)


@contextmanager
def _injected(lm: LanguageModel, config: dict[str, Any]) -> Iterator[nn.Module]:
    """Put a fresh adapter into the model for the length of a `with` block."""
    settings = _adapter_config(config)
    try:
        adapted = peft.get_peft_model(lm.model, settings, autocast_adapter_dtype=True)
    except (ValueError, TypeError) as error:
        raise UserError(f"method.config={config} does not fit model '{lm.id}' ({str(error).splitlines()[0]})")
    adapted.eval()
    try:
        yield adapted
    finally:
        adapted.unload()
        lm.model.requires_grad_(False)


def _adapter_config(config: dict[str, Any]) -> peft.PeftConfig:
    """Return the peft library's configuration.

    Raises:
        UserError: the type or a setting is unknown, or the adapter changes prompts rather than modules.
    """
    settings = dict(config)
    name = str(settings.pop("peft_type")).upper()
    if name not in [str(kind.value) for kind in PEFT_TYPE_TO_CONFIG_MAPPING]:
        raise UserError(f"method.config.peft_type={name} is not known; {did_you_mean(name, _module_types())}")
    if name not in _module_types():
        raise UserError(f"method.config.peft_type={name} changes prompts, not modules; allowed: {_module_types()}")
    try:
        return PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(name)](task_type="CAUSAL_LM", **settings)
    except (ValueError, TypeError) as error:
        raise UserError(f"method.config={config} is not a {name} configuration ({error})")


def _module_types() -> list[str]:
    return [
        str(name.value)
        for name, kind in PEFT_TYPE_TO_CONFIG_MAPPING.items()
        if not issubclass(kind, peft.PromptLearningConfig)
    ]
