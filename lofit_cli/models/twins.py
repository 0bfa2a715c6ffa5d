"""Forward passes that go along with a model's: by the same model or another one, with a cache of their own."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from lofit_cli.errors import UserError
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.kept_logits import Inputs, keep_logits, kept_states, no_logits
from lofit_cli.models.positions import TokenPositions
from lofit_cli.schema.limits import FAR


def num_positions(inputs: Inputs) -> int:
    """Return how many positions a forward pass reaches, its cache among them."""
    positions = inputs.get("position_ids")
    return _past_length(inputs) + inputs["input_ids"].shape[1] if positions is None else int(positions.max()) + 1


def _past_length(inputs: Inputs) -> int:
    owner = inputs.get("past_key_values")
    return 0 if owner is None else int(owner.get_seq_length())


class Twin:
    """The same forward passes as another model's, behind a beginning that is kept as a cache of keys and values.

    Args:
        lm: runs them; it has the other model's tokens.
        beginning: tokens that stand before everything.
    """

    def __init__(self, lm: Decoder, beginning: Sequence[int] = ()) -> None:
        self.lm = lm
        self.tokens = torch.tensor([list(beginning)], dtype=torch.long, device=lm.device)
        self.length = len(beginning)
        self._cache, self._shared, self._owner = DynamicCache(), DynamicCache(), None

    def run(self, inputs: Inputs, where: TokenPositions, with_logits: bool = False) -> Tensor:
        """Repeat a forward pass, told by its keyword arguments and token positions.

        Returns:
            (batch, kept, vocabulary) logits of the tokens that the pass keeps, with `with_logits`; else of any one.

        Raises:
            UserError: it has more tokens than this model has positions, the beginning among them.
        """
        self._require_positions(num_positions(inputs) + self.length)
        self._prepare_cache(inputs)
        device, model = self.lm.device, self.lm.model
        behind: Inputs = {
            "input_ids": inputs["input_ids"].to(device),
            "attention_mask": self._widen(inputs.get("attention_mask")),
            "past_key_values": self._cache,
            "use_cache": True,
        }
        if inputs.get("position_ids") is not None:
            behind["position_ids"] = inputs["position_ids"].to(device) + self.length
        kept = inputs.get("logits_to_keep", 0)
        kept = kept if isinstance(kept, int) else kept.to(device)
        keep = keep_logits(model, kept) if with_logits else no_logits(model)
        stated = where.positions.to(device) + self.length, where.distances.to(device)
        with torch.no_grad(), self.lm.token_positions(*stated):
            logits: Tensor = model(**behind, **keep).logits
        return logits if keep or not with_logits else kept_states(logits, inputs)

    def _require_positions(self, num_tokens: int) -> None:
        if num_tokens > self.lm.max_positions:
            before = f", {self.length} of them before the text" if self.length else ""
            raise UserError(
                f"model '{self.lm.id}' is run beside on {num_tokens} tokens{before}, and has positions for "
                f"{self.lm.max_positions}; shorten the prompts, or choose another model or method"
            )

    def _prepare_cache(self, inputs: Inputs) -> None:
        """Let the cache hold what the other model's does: nothing more, and nothing less."""
        owner, batch_size, past_length = inputs.get("past_key_values"), len(inputs["input_ids"]), _past_length(inputs)
        if not past_length:
            self._cache = self._shared = self._begin(batch_size)
        elif owner is not self._owner:
            # A copy, for a batch, of the cache that was last filled from nothing.
            self._cache = copy.deepcopy(self._shared)
            self._cache.batch_repeat_interleave(batch_size)
        self._owner = owner
        if extra := self._cache.get_seq_length() - self.length - past_length:
            self._cache.crop(-extra)

    def _begin(self, batch_size: int) -> DynamicCache:
        cache = DynamicCache()
        if not self.length:
            return cache
        tokens = self.tokens.expand(batch_size, -1)
        positions = torch.arange(self.length, device=tokens.device).expand_as(tokens)
        with torch.no_grad(), self.lm.token_positions(positions, torch.full_like(tokens, FAR)):
            inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "past_key_values": cache}
            self.lm.model(**inputs, use_cache=True, **no_logits(self.lm.model))
        return cache

    def _widen(self, mask: Any) -> Any:
        """Return an attention mask, of any form, under which the beginning is seen as well."""
        if isinstance(mask, dict):
            return {kind: self._widen(part) for kind, part in mask.items()}
        if mask is None:
            return None
        mask = mask.to(self.lm.device, self.lm.model.dtype if mask.is_floating_point() else mask.dtype)
        if not self.length:
            return mask
        seen = mask.new_ones if mask.ndim == 2 else mask.new_zeros
        return torch.cat([seen(*mask.shape[:-1], self.length), mask], dim=-1)
