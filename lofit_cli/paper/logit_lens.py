"""What an offset says in words: the tokens that it points at, through its head's part of the output projection."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lofit_cli.errors import UserError
from lofit_cli.models.language_model import LanguageModel


@dataclass(frozen=True)
class HeadTokens:
    """The tokens that a head's offset raises most.

    Attributes:
        tokens: best first.
        probabilities: of these tokens, under the softmax over the whole vocabulary.
    """

    layer: int
    head: int
    tokens: list[str]
    probabilities: list[float]


@torch.inference_mode()
def logit_lens(
    lm: LanguageModel, offset: Tensor, heads: Tensor, num_tokens: int = 10, final_norm: bool = False
) -> list[HeadTokens]:
    """Return what each offset adds to the residual stream, read as a distribution over the vocabulary.

    Args:
        offset: (num_heads, head_dim).
        heads: (num_heads, 2), layer and head of each.
        final_norm: apply the model's last normalisation before the unembedding. It is made for whole residual streams
            and brings any offset, however small, to the same length; without it the probabilities show the length too.

    Raises:
        UserError: the model has no unembedding, or no last normalisation where one is asked for.

    Source: LoFiT (arXiv 2406.01563), appendix E, which does not say whether it normalises.
    """
    unembedding = find_unembedding(lm)
    added = torch.stack([_added(lm, values, *head) for values, head in zip(offset, heads.tolist(), strict=True)])
    if final_norm:
        added = find_final_norm(lm.model)(added)
    probabilities = unembedding(added).float().softmax(dim=-1)
    best = probabilities.topk(min(num_tokens, probabilities.shape[-1]))
    return [
        HeadTokens(layer, head, [str(lm.tokenizer.decode([token])) for token in tokens], values)
        for (layer, head), tokens, values in zip(
            heads.tolist(), best.indices.tolist(), best.values.tolist(), strict=True
        )
    ]


def _added(lm: LanguageModel, values: Tensor, layer: int, head: int) -> Tensor:
    """Return what an offset (head_dim,) of a head adds to its attention's output: (hidden_size,)."""
    projection = lm.output_projections[layer]
    shape = lm.geometry.heads_per_layer[layer], lm.geometry.head_dims[layer]
    activation = torch.zeros(shape, dtype=lm.model.dtype, device=lm.device)
    without = projection(activation.flatten()[None])
    activation[head] = values[: shape[1]].to(activation)
    # The difference, because the map may have a bias of its own.
    added: Tensor = (projection(activation.flatten()[None]) - without)[0]
    return added


def find_unembedding(lm: LanguageModel) -> nn.Module:
    """Return the map from the residual stream to logits.

    Raises:
        UserError: the model has none, or one that takes something else.
    """
    unembedding: nn.Module | None = lm.model.get_output_embeddings()
    if unembedding is None:
        raise UserError(f"model '{lm.id}' has no unembedding to read tokens from; choose a language model")
    if getattr(unembedding, "in_features", lm.hidden_size) != lm.hidden_size:
        raise UserError(f"model '{lm.id}' has a map between its layers and its unembedding; choose another model")
    return unembedding


def find_final_norm(model: PreTrainedModel) -> nn.Module:
    """Return the normalisation that stands after the last layer: the last one outside the list of layers.

    Raises:
        UserError: there is none.
    """
    named = _outside_layers(list(model.named_modules()))
    norms = [module for module in named if "norm" in type(module).__name__.lower()]
    if not norms:
        raise UserError(f"model '{model.config.model_type}' has no normalisation after its layers; leave it out")
    return norms[-1]


def _outside_layers(named: Sequence[tuple[str, nn.Module]]) -> list[nn.Module]:
    return [module for name, module in named if not re.search(r"\.\d+(\.|$)", f".{name}")]
