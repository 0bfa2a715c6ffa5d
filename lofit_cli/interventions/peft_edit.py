"""Adapters of the peft library: LoRA, IA3 and every other one that changes modules and leaves the weights alone."""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import peft
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from lofit_cli.errors import UserError, did_you_mean
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.interventions.saved import require_settings, require_tensors, require_weights
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.memory import is_out_of_memory
from lofit_cli.models.weights import weights_hash

REFUSED_TYPES = {
    "ADALORA": "its rank is adapted by a training loop of its own",
    "SHADOW": "it runs beside the model, with keys and values of its own",
}
REFUSED_SETTINGS = ("modules_to_save", "layer_replication")
LIBRARY_ERRORS = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError, re.error)
"""What the library raises for a configuration that does not fit a model."""


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
        self._adapter_modules: list[nn.Module] = []

    @classmethod
    def initial(cls, lm: Decoder, config: dict[str, Any]) -> "PeftEdit":
        """Return the adapter as the peft library initialises it, its weights in float32.

        Raises:
            UserError: the configuration does not fit the model, or the adapter changes the model's own weights. What
                was put in by then stays there: the model has to be loaded again.
        """
        require_weights(lm, f"the adapter {config.get('peft_type')}")
        before = weights_hash(lm.model)
        with _injected(lm, config) as adapted:
            trained = {name: weight for name, weight in adapted.named_parameters() if weight.requires_grad}
            weights = [nn.Parameter(weight.detach().float().clone()) for weight in trained.values()]
        edit = cls(config, list(trained), weights)
        edit._try_out(lm)
        if weights_hash(lm.model) != before:
            raise UserError(
                f"method.config={config} changes the model's own weights; start from another init_lora_weights"
            )
        return edit

    def _try_out(self, lm: Decoder) -> None:
        """Refuse an adapter that trains nothing, or that the model can't run."""
        if not self.names:
            raise UserError(f"method.config={self.config} trains nothing; leave inference_mode out")
        try:
            tokens = torch.zeros((1, 2), dtype=torch.long, device=lm.device)
            with self.attach(lm), torch.no_grad(), lm.token_positions.padded([1], tokens):
                lm.model(input_ids=tokens)
        except LIBRARY_ERRORS as error:
            raise _misfit(self.config, lm, error)

    @contextmanager
    def attach(self, lm: Decoder) -> Iterator[None]:
        """Put the adapter's modules into the model, with these weights, and take them out again."""
        with self.adapted(lm):
            yield

    @contextmanager
    def adapted(self, lm: Decoder) -> Iterator[peft.PeftModel]:
        """Attach the adapter, and yield the peft library's view of the model, which can save and merge it."""
        with _injected(lm, self.config) as adapted:
            for name, weight in zip(self.names, self.weights, strict=True):
                owner, _, leaf = name.rpartition(".")
                setattr(adapted.get_submodule(owner), leaf, weight)
            layers = [module for module in adapted.modules() if isinstance(module, BaseTunerLayer)]
            self._adapter_modules = [
                m for layer in layers for name, m in layer.named_children() if name != "base_layer"
            ]
            self.train(self.training)
            try:
                yield adapted
            finally:
                self._adapter_modules = []

    def train(self, mode: bool = True) -> "PeftEdit":
        """Turn the adapter's own dropout on or off; the model's stays off."""
        super().train(mode)
        for module in self._adapter_modules:
            module.train(mode)
        return self

    def settings(self) -> dict[str, Any]:
        """Return the configuration and the names of the weights."""
        return {"config": self.config, "names": self.names}

    @classmethod
    def restore(cls, lm: Decoder, settings: dict[str, Any], tensors: dict[str, Tensor]) -> "PeftEdit":
        """Make it again, refusing weights of another model."""
        require_settings(settings, config=dict, names=list)
        if not isinstance(settings["config"].get("peft_type"), str):
            raise UserError("its setting config names no peft_type; train it again")
        edit = cls.initial(lm, settings["config"])
        if edit.names != settings["names"]:
            raise UserError("its adapter does not fit this model; use the model it was made for")
        shapes = {f"weights.{i}": tuple(weight.shape) for i, weight in enumerate(edit.weights)}
        found = require_tensors(tensors, shapes).values()
        return cls(**settings, weights=[value.to(own.device) for value, own in zip(found, edit.weights, strict=True)])

    def placed(self, lm: Decoder) -> "PeftEdit":
        """Return itself: the library has put each weight beside the map that it adapts."""
        return self


@contextmanager
def _injected(lm: Decoder, config: dict[str, Any]) -> Iterator[peft.PeftModel]:
    """Put a fresh adapter into the model for the length of a `with` block."""
    settings = _adapter_config(config)
    try:
        with warnings.catch_warnings():
            # peft 0.21 reads a property of the model that transformers 5.23 has renamed.
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
            adapted = peft.get_peft_model(lm.model, settings, autocast_adapter_dtype=True)
    except LIBRARY_ERRORS as error:
        raise _misfit(config, lm, error)
    adapted.eval()
    try:
        yield adapted
    finally:
        adapted.unload()
        lm.model.requires_grad_(False)


def _misfit(config: dict[str, Any], lm: Decoder, error: Exception) -> UserError:
    """Return why the model can't take the adapter; raise what has another reason again."""
    if is_out_of_memory(error):
        raise error
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return UserError(f"method.config={config} does not fit model '{lm.id}' ({reason}); choose other settings")


def _adapter_config(config: dict[str, Any]) -> peft.PeftConfig:
    """Return the peft library's configuration.

    Raises:
        UserError: the type or a setting is unknown, or the adapter changes prompts or weights rather than modules.
    """
    settings = dict(config)
    name = str(settings.pop("peft_type")).upper()
    known = [str(kind.value) for kind in PEFT_TYPE_TO_CONFIG_MAPPING]
    if name not in known:
        raise UserError(f"method.config.peft_type={name} is not known; {did_you_mean(name, _module_types())}")
    if name not in _module_types():
        why = REFUSED_TYPES.get(name, "it changes prompts, not modules, as method=prompt and method=prefix do")
        raise UserError(f"method.config.peft_type={name} can't be used: {why}; allowed: {', '.join(_module_types())}")
    for key in REFUSED_SETTINGS:
        if settings.get(key):
            raise UserError(f"method.config.{key} trains the model's own modules; use method=full for that")
    if settings.get("bias", "none") != "none":
        raise UserError(
            f"method.config.bias={settings['bias']} trains the model's own biases; use method=bitfit for that"
        )
    try:
        return PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(name)](task_type="CAUSAL_LM", **settings)
    except LIBRARY_ERRORS as error:
        raise UserError(f"method.config={config} is not a {name} configuration ({error})")


def _module_types() -> list[str]:
    """Return the types of adapters that change modules and train in any loop."""
    return sorted(
        str(name.value)
        for name, kind in PEFT_TYPE_TO_CONFIG_MAPPING.items()
        if not issubclass(kind, peft.PromptLearningConfig) and name.value not in REFUSED_TYPES
    )
