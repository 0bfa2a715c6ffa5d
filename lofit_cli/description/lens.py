"""Differences of hidden states as tokens: through the unembedding, or by what the model itself says of them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lofit_cli.artifacts.description import Lens, PatchscopeReading, ShownToken
from lofit_cli.description.words import NUM_SHOWN, Words
from lofit_cli.errors import UserError
from lofit_cli.models.encoding import encode, first_tokens
from lofit_cli.models.hooks import hooked_layer
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.paper.logit_lens import find_final_norm, find_unembedding

PATTERNS = (("man", "1135", "hello"), ("bear", "42", "blue"), ("921", "target", "anna"))
"""Each of the patchscope's prompts repeats three words, so that the model goes on by naming what it is shown next."""


@torch.inference_mode()
def read_lens(lm: LanguageModel, delta: Tensor, position: int | None, words: Words) -> Lens:
    """Return the tokens that a difference (hidden,) raises and lowers most; none where there is no difference.

    These are the likeliest of `softmax(W_U N(delta))` and of `softmax(W_U (-N(delta)))`, with the model's own norm and
    unembedding.

    Source: the activation difference lens (arXiv 2510.13900).
    """
    if not delta.any():
        return Lens(position, [], [])
    unembedding: Any = find_unembedding(lm)
    normed = _find_norm(lm)(delta.to(lm.device, lm.model.dtype)[None]).to(unembedding.weight.device)
    raised, lowered = (unembedding(sign * normed)[0].float().softmax(dim=-1) for sign in (1, -1))
    return Lens(position, _name_best(raised, words), _name_best(lowered, words))


def _find_norm(lm: LanguageModel) -> nn.Module:
    try:
        return find_final_norm(lm.model)
    except UserError:
        # Some families have none, and unembed what leaves the last layer as it is.
        return nn.Identity()


def _name_best(probabilities: Tensor, words: Words) -> list[ShownToken]:
    best = probabilities.topk(min(NUM_SHOWN, len(probabilities)))
    return words.name(best.indices, best.values)


def read_patchscope(
    lm: LanguageModel, delta: Tensor, unit: float, layer: int, strengths: Sequence[float], top_k: int, words: Words
) -> list[PatchscopeReading]:
    """Return what the model as it is says next where a difference stands in for a token's state, for each strength.

    Args:
        delta: (hidden,), whose length is set to `unit` times the strength; nothing is read of 0.
        top_k: a token counts where it is among as many likeliest after each prompt.

    Source: the activation difference lens (arXiv 2510.13900) and its diffing-toolkit.
    """
    if not delta.any():
        return []
    direction = delta * (unit / delta.norm())
    prompts = [_prompt_tokens(lm, pattern) for pattern in PATTERNS]
    return [_read_strength(lm, prompts, layer, strength, direction, top_k, words) for strength in strengths]


def _prompt_tokens(lm: LanguageModel, pattern: Sequence[str]) -> list[int]:
    prompt = "\n".join([*(f"{word} -> {word}" for word in pattern), "?"])
    (encoded,) = encode(lm.tokenizer, [prompt], first_tokens(lm.tokenizer, lm.add_bos), set(lm.end_tokens))
    return encoded.tokens


def _read_strength(
    lm: LanguageModel,
    prompts: Sequence[list[int]],
    layer: int,
    strength: float,
    direction: Tensor,
    top_k: int,
    words: Words,
) -> PatchscopeReading:
    found = torch.stack([patched_logits(lm, prompt, layer, strength * direction).softmax(dim=-1) for prompt in prompts])
    best = found.topk(min(top_k, found.shape[-1])).indices
    is_shared = torch.zeros_like(found).scatter(-1, best, 1).bool().all(dim=0)
    num_shared = int(is_shared.sum())
    first = found.mean(dim=0).masked_fill(~is_shared, -1).topk(min(NUM_SHOWN, num_shared))
    return PatchscopeReading(strength, num_shared, words.name(first.indices, first.values))


@torch.inference_mode()
def patched_logits(lm: LanguageModel, tokens: Sequence[int], layer: int, state: Tensor) -> Tensor:
    """Return the logits (vocabulary,) float32 after some tokens, with a state (hidden,) in place of the last one's."""

    def patch(hidden: Tensor) -> Tensor:
        patched = hidden.clone()
        patched[:, -1] = state.to(hidden)
        return patched

    row = torch.tensor([list(tokens)], device=lm.device)
    with hooked_layer(lm.layers[layer], patch), lm.token_positions.padded([len(tokens)], row):
        logits: Tensor = lm.model(input_ids=row, use_cache=False).logits[0, -1]
    lm.require_finite(logits.amax())
    return logits.float()
