"""A frozen base in fewer bits: the weights of its linear maps are made coarser while they are loaded."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass
from transformers import BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel, TorchAoConfig

from lofit_cli.console import say
from lofit_cli.errors import UserError
from lofit_cli.schema.sources import ModelConfig

LIBRARIES = {"int8": "bitsandbytes", "nf4": "bitsandbytes", "torchao-int4": "torchao", "torchao-int8": "torchao"}
GROUP = 32
"""How many weights of a row share a scale in 4-bit integers."""


NOTEWORTHY = 0.5
"""A share of the weights below which it is told how many are quantised."""


def quantization_options(config: ModelConfig, architecture: PreTrainedConfig) -> dict[str, Any]:
    """Return the arguments of `from_pretrained` that quantise a model as it is loaded; none where it stays as it is.

    Raises:
        UserError: the library is not installed, or the checkpoint is quantised already.
    """
    name = config.quantization
    if name is None:
        return {}
    if getattr(architecture, "quantization_config", None) is not None:
        raise UserError(f"model.id={config.id} is quantised already; leave model.quantization={name} out")
    library = LIBRARIES[name]
    if find_spec(library) is None:
        raise UserError(
            f"model.quantization={name} needs the package {library}, which is not installed: pip install {library}"
        )
    return {"quantization_config": _settings(name)}


def _settings(name: str) -> BitsAndBytesConfig | TorchAoConfig:
    if name == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    if name == "nf4":
        return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig, PerGroup

    if name == "torchao-int8":
        return TorchAoConfig(Int8WeightOnlyConfig())
    four_bits: Any = vars(torch)["int4"]
    return TorchAoConfig(IntxWeightOnlyConfig(weight_dtype=four_bits, granularity=PerGroup(GROUP)))


def is_quantised(model: PreTrainedModel) -> bool:
    """Return whether a model's weights are coarser than its dtype, by our doing or as they came."""
    return getattr(model, "hf_quantizer", None) is not None


def require_quantised(model: PreTrainedModel, config: ModelConfig) -> None:
    """Refuse a quantisation that leaves all weights as they are, and tell of one that leaves most.

    Raises:
        UserError: the model keeps its weights in other modules than linear maps.
    """
    if config.quantization is None:
        return
    share = sum(map(_num_quantised, model.parameters())) / model.num_parameters()
    if share == 0:
        raise UserError(
            f"model.quantization={config.quantization} finds no linear map that it knows in model '{config.id}' (type "
            f"{model.config.model_type}); leave it out or choose another"
        )
    if share < NOTEWORTHY:
        say(f"note: model.quantization={config.quantization} makes {share:.0%} of model '{config.id}' coarser")


def _num_quantised(weight: Any) -> int:
    """Return how many numbers of a model a weight holds in fewer bits."""
    if hasattr(weight, "quant_state"):
        return math.prod(weight.quant_state.shape)
    is_coarse = is_traceable_wrapper_subclass(weight) or not weight.is_floating_point()
    return int(weight.numel()) if is_coarse else 0


def keep_gradients(model: PreTrainedModel, config: ModelConfig) -> None:
    """Make quantised maps pass gradients back after passes without any, and compute in the model's own dtype.

    A 4-bit map of bitsandbytes repacks its weights in its first pass without gradients, on CPUs that compute in
    bfloat16, into a form that has no way back.
    """
    for module in _four_bit_maps(model):
        module.support_avx512bf16_for_cpu = False
        if config.quantization:
            module.compute_dtype, module.compute_type_is_set = model.dtype, True


def mixes_tokens(model: nn.Module) -> bool:
    """Return whether the tokens of a pass change one another's numbers through the quantisation itself.

    LLM.int8 (arXiv 2208.07339) computes a feature in half precision where any token of the pass has an outlier in it.
    """
    return any(state.threshold > 0 for state in _eight_bit_states(model))


@contextmanager
def without_mixing(model: nn.Module) -> Iterator[None]:
    """Let no token's outliers touch another's numbers inside a `with` block."""
    states = [(state, state.threshold) for state in _eight_bit_states(model)]
    try:
        for state, _ in states:
            state.threshold = 0.0
        yield
    finally:
        for state, threshold in states:
            state.threshold = threshold


def _eight_bit_states(model: nn.Module) -> list[Any]:
    states: list[Any] = [getattr(module, "state", None) for module in model.modules()]
    return [state for state in states if hasattr(state, "threshold") and hasattr(state, "SCB")]


def _four_bit_maps(model: nn.Module) -> list[Any]:
    return [module for module in model.modules() if hasattr(module, "support_avx512bf16_for_cpu")]
