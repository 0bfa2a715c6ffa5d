"""Which stock class of transformers holds a model's weights with an edit in them, found out by building it."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from lofit_cli.errors import UserError
from lofit_cli.exports.fold import Fold, folded_state, move_to_parallel_map
from lofit_cli.exports.other_classes import other_classes
from lofit_cli.exports.value_biases import value_bias_state
from lofit_cli.models.decoder import Decoder

MOST_KEYS = 2
"""Settings that are turned over together to give a class its biases; none is known that needs three."""


@dataclass(frozen=True)
class Route:
    """A stock class, and all of its weights.

    Attributes:
        words: how it was come by, for people.
        model_class: builds the model from its config.
        state: the name of each weight in this class -> its values.
    """

    words: str
    model_class: type[PreTrainedModel]
    config: PreTrainedConfig
    state: dict[str, Tensor]

    def build(self) -> PreTrainedModel:
        """Return a model of this class without memory for its weights."""
        with torch.device("meta"):
            return build_model(self.model_class, self.config)

    def filled(self) -> "Route | None":
        """Return the route with zeros for the biases that only the class has; None where the weights don't fit it."""
        try:
            wanted = self.build().state_dict()
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError):
            return None
        new = wanted.keys() - self.state.keys()
        shapes = {name: tensor.shape for name, tensor in self.state.items()}
        if not shapes.keys() <= wanted.keys() or not all(name.endswith(".bias") for name in new):
            return None
        if any(wanted[name].shape != shape for name, shape in shapes.items()):
            return None
        zeros = {name: torch.zeros(wanted[name].shape) for name in new}
        return replace(self, state={**self.state, **zeros})

    def to_model(self) -> PreTrainedModel:
        """Return the model with these weights, which it shares with whatever else has them."""
        model = self.build()
        model.load_state_dict(self.state, strict=True, assign=True)
        model.tie_weights()
        return model


def build_model(model_class: type[PreTrainedModel], config: PreTrainedConfig) -> PreTrainedModel:
    """Return a model of a class with this config."""
    built: PreTrainedModel = model_class._from_config(copy.deepcopy(config))
    return built


def own_class(lm: Decoder, state: dict[str, Tensor]) -> Route:
    """Return the model's own class with other values for its weights, of the same names and shapes."""
    return Route("its own class", type(lm.model), lm.model.config, state)


def find_route(lm: Decoder, fold: Fold, allowed: frozenset[str] | None = None) -> Route:
    """Return the first stock class that has a place for every bias of a fold.

    Args:
        allowed: the model types that may be used, all by default.

    Raises:
        UserError: no stock class has.
    """
    seen = []
    for route in _routes(lm, fold):
        found = next(filter(None, (option.filled() for option in _with_bias_keys(route))), None)
        if found is None:
            continue
        if allowed is None or found.config.model_type in allowed or not fold.biases:
            return found
        seen.append(found.config.model_type)
    family, places = lm.model.config.model_type, ", ".join(sorted({path.split(".")[-1] for path in fold.biases}))
    if seen:
        raise UserError(
            f"the only stock classes that hold it ({', '.join(seen)}) lose the new biases in llama.cpp, or are not "
            "loaded by it; use to=hf, or to=peft"
        )
    raise UserError(
        f"no stock class of transformers computes what a model of type {family} does and has a bias in its {places}; "
        "use to=peft or to=vector, or to=gguf for a vector after a layer"
    )


def _routes(lm: Decoder, fold: Fold) -> Iterator[Route]:
    """Yield what may hold a fold, each but for its settings of biases: the most like the base first."""
    state = folded_state(lm, fold)
    yield own_class(lm, state)
    if moved := move_to_parallel_map(lm, fold):
        yield replace(own_class(lm, folded_state(lm, moved)), words="its own class, in a map parallel to the attention")
    for words, config, renamed in other_classes(lm.model.config, state):
        yield Route(words, _class_of(config), config, renamed)
    if found := value_bias_state(lm, fold):
        yield Route("its own class, with a KV head for each query head and value biases", type(lm.model), *found)


def _class_of(config: PreTrainedConfig) -> type[PreTrainedModel]:
    with torch.device("meta"):
        return type(AutoModelForCausalLM.from_config(config))


def _with_bias_keys(route: Route) -> Iterator[Route]:
    """Yield the route as it is, then with one or two of its config's settings of biases turned over."""
    yield route
    part = route.config.get_text_config(decoder=True)
    keys = [key for key, value in part.to_dict().items() if "bias" in key and isinstance(value, bool)]
    for size in range(1, MOST_KEYS + 1):
        for chosen in combinations(keys, size):
            config = copy.deepcopy(route.config)
            text = config.get_text_config(decoder=True)
            for key in chosen:
                setattr(text, key, not getattr(text, key))
            settings = ", ".join(f"{key}={str(getattr(text, key)).lower()}" for key in chosen)
            yield replace(route, words=f"{route.words} with {settings}", config=config)
