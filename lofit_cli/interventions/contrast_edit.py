"""RepE's contrast vector: what two opposite instructions make of the same input is added to it."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from lofit_cli.errors import UserError
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.interventions.saved import require_layer, require_settings, require_tensors
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.forward import no_logits
from lofit_cli.models.hooks import hooked_call, hooked_layer
from lofit_cli.models.positions import TokenPositions
from lofit_cli.schema.limits import FAR


class ContrastEdit(Intervention):
    """The map `h <- h + alpha * (h_positive - h_negative)` after one layer, at the tokens that predict an answer.

    `h_positive` and `h_negative` are the same tokens' hidden states where an instruction stands before everything, so
    each forward pass costs three. Nothing is learnt.

    Source: RepE (arXiv 2310.01405), section 3.2 and its TruthfulQA notebook.
    """

    kind = "contrast_edit"
    edits_parts = True

    def __init__(self, positive: str, negative: str, alpha: float, layer: int) -> None:
        super().__init__()
        self.positive, self.negative, self.alpha, self.layer = positive, negative, alpha, layer

    @contextmanager
    def attach(self, lm: Decoder) -> Iterator[None]:
        """Run both instructed twins before every forward pass and add their difference in it."""
        refuse_chat(lm)
        twins = [_Twin(lm, text) for text in (self.positive, self.negative)]
        hidden: dict[_Twin, Tensor] = {}
        running: list[_Twin] = []

        def before(inputs: dict[str, Any]) -> None:
            if running:
                return
            where = lm.token_positions.read()
            for twin in twins:
                running.append(twin)
                try:
                    twin.run(inputs, where)
                finally:
                    running.pop()

        def at_layer(states: Tensor) -> Tensor | None:
            if running:
                # A twin runs its instruction first, now and then; what it runs last is what was asked of it.
                hidden[running[0]] = states.float()
                return None
            where = lm.token_positions.read(states.device).predict_answers()[..., None]
            difference = hidden[twins[0]] - hidden[twins[1]]
            return (states.float() + self.alpha * where * difference).to(states.dtype)

        with hooked_call(lm.model, before), hooked_layer(lm.layers[self.layer], at_layer):
            yield

    def settings(self) -> dict[str, Any]:
        """Return the instructions, the strength and the layer."""
        return {"positive": self.positive, "negative": self.negative, "alpha": self.alpha, "layer": self.layer}

    @classmethod
    def restore(cls, lm: Decoder, settings: dict[str, Any], tensors: dict[str, Tensor]) -> "ContrastEdit":
        """Make it again, refusing a layer that the model does not have."""
        require_settings(settings, positive=str, negative=str, alpha=float, layer=int)
        require_layer(settings["layer"], lm.geometry.num_layers)
        require_tensors(tensors, {})
        return cls(**settings)


def refuse_chat(lm: Decoder) -> None:
    """Refuse a model that is asked in turns: what stands before everything there is the template's."""
    if lm.chat:
        raise UserError(
            "method.vector=contrast puts an instruction before everything, where a chat template puts its own tokens; "
            "use method.vector=reading, or model.chat_template=false"
        )


class _Twin:
    """The same forward passes as the model's, behind an instruction that is kept as a cache of keys and values."""

    def __init__(self, lm: Decoder, instruction: str) -> None:
        self.lm = lm
        self.tokens = torch.tensor([text.tokens for text in lm.encode([instruction])], device=lm.device)
        self.length = self.tokens.shape[1]
        self._cache, self._shared, self._owner = DynamicCache(), DynamicCache(), None

    def run(self, inputs: dict[str, Any], where: TokenPositions) -> None:
        """Repeat a forward pass, told by its keyword arguments and token positions, behind the instruction."""
        owner, batch_size = inputs.get("past_key_values"), len(inputs["input_ids"])
        past_length = 0 if owner is None else owner.get_seq_length()
        positions = inputs.get("position_ids")
        self._refuse_window(
            past_length + inputs["input_ids"].shape[1] if positions is None else int(positions.max()) + 1
        )
        if not past_length:
            self._cache = self._shared = self._instruction(batch_size)
        elif owner is not self._owner:
            # A copy, for a batch, of the cache that was last filled from nothing.
            self._cache = copy.deepcopy(self._shared)
            self._cache.batch_repeat_interleave(batch_size)
        self._owner = owner
        if extra := self._cache.get_seq_length() - self.length - past_length:
            self._cache.crop(-extra)
        behind = {
            "input_ids": inputs["input_ids"],
            "attention_mask": self._widen(inputs.get("attention_mask")),
            "past_key_values": self._cache,
            "use_cache": True,
            **no_logits(self.lm.model),
        }
        if inputs.get("position_ids") is not None:
            behind["position_ids"] = inputs["position_ids"] + self.length
        with torch.no_grad(), self.lm.token_positions(where.positions + self.length, where.distances):
            self.lm.model(**behind)

    def _refuse_window(self, num_tokens: int) -> None:
        """Refuse to show the instruction to a token that the model's own attention window keeps from it."""
        window = getattr(self.lm.model.config.get_text_config(decoder=True), "sliding_window", None)
        if window and num_tokens + self.length >= window:
            raise UserError(
                f"method.vector=contrast has to look back {num_tokens + self.length} tokens and model '{self.lm.id}' "
                f"has an attention window of {window}; use method.vector=reading"
            )

    def _instruction(self, batch_size: int) -> DynamicCache:
        cache = DynamicCache()
        tokens = self.tokens.expand(batch_size, -1)
        positions = torch.arange(self.length, device=tokens.device).expand_as(tokens)
        with torch.no_grad(), self.lm.token_positions(positions, torch.full_like(tokens, FAR)):
            inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "past_key_values": cache}
            self.lm.model(**inputs, use_cache=True, **no_logits(self.lm.model))
        return cache

    def _widen(self, mask: Any) -> Any:
        """Return an attention mask, of any form, under which the instruction is seen as well."""
        if isinstance(mask, dict):
            return {kind: self._widen(part) for kind, part in mask.items()}
        if mask is None:
            return None
        seen = mask.new_ones if mask.ndim == 2 else mask.new_zeros
        return torch.cat([seen(*mask.shape[:-1], self.length), mask], dim=-1)
