"""DoLa: the last layer's log-probabilities less those that an early layer would give."""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lofit_cli.errors import UserError
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.interventions.saved import require_layers, require_settings, require_tensors
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.forward import choose_tail
from lofit_cli.models.hooks import hooked_input
from lofit_cli.models.kept_logits import kept_states
from lofit_cli.models.memory import if_possible
from lofit_cli.models.rescoring import rescored
from lofit_cli.schema.checks import one_of, within

FILTERED = -1000.0
"""The score of a token that is left out, as in the authors' code."""
GENERATION_TOP = 0.1
"""Without leaving out unlikely tokens generation would say whatever the early layer likes least."""


def authors_divergence(last: Tensor, early: Tensor) -> Tensor:
    """Return what DoLa's authors compute for the divergence of two rows of log-probabilities, (..., vocabulary).

    Source: DoLa's released code, whose arguments stand the other way round than in the Jensen-Shannon divergence, and
        which divides by the size of the vocabulary.
    """
    mix = _mixed(last, early)
    return torch.stack([(mix.exp() * (mix - part)).mean(dim=-1) for part in (last, early)]).mean(dim=0)


def js_divergence(last: Tensor, early: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence of two rows of log-probabilities, (..., vocabulary), in nats."""
    mix = _mixed(last, early)
    return torch.stack([(part.exp() * (part - mix)).sum(dim=-1) for part in (last, early)]).mean(dim=0)


def _mixed(last: Tensor, early: Tensor) -> Tensor:
    """Return the log of the mean of two probabilities, also of those that are too small for a float."""
    return torch.logaddexp(last, early) - math.log(2)


DIVERGENCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"authors": authors_divergence, "js": js_divergence}


class LayerContrast(Intervention):
    """A token's score is `log q_last - log q_early`, as it is: it sums to no probability over the vocabulary.

    `q_early` is the softmax of the output embeddings of what goes into a layer, without the model's last norm; of
    several layers each token takes the one whose distribution is farthest from the last. Nothing is learnt.

    Attributes:
        layers: whose inputs are read; layer 0's are the embeddings.
        relative_top: tokens whose probability is below this share of the likeliest one's score `FILTERED`; None for a
            tenth in generation, and none in scoring.

    Source: DoLa (arXiv 2309.03883), section 2, and its released code.
    """

    kind = "layer_contrast"

    def __init__(self, layers: list[int], divergence: str, relative_top: float | None) -> None:
        super().__init__()
        one_of("divergence", divergence, tuple(DIVERGENCES))
        within("relative_top", relative_top or 0.0, 0, 1)
        self.layers, self.divergence, self.relative_top = layers, divergence, relative_top

    @contextmanager
    def attach(self, lm: Decoder) -> Iterator[None]:
        """Note what goes into the early layers, and take their log-probabilities from the last one's."""
        unembed, found = _unembedding(lm), dict[int, Tensor]()

        def rescore(logits: Tensor, inputs: dict[str, Any]) -> Tensor:
            scores = self._contrast(unembed, found, logits, inputs)
            return self._without_unlikely(scores, logits.float(), lm.token_positions.generates)

        with ExitStack() as stack:
            for layer in self.layers:
                stack.enter_context(hooked_input(lm.layers[layer], partial(found.__setitem__, layer)))
            stack.enter_context(rescored(lm, rescore, as_is=True))
            yield

    def _contrast(
        self, unembed: Callable[[Tensor], Tensor], found: dict[int, Tensor], logits: Tensor, inputs: dict[str, Any]
    ) -> Tensor:
        last, diverges = logits.float().log_softmax(dim=-1), DIVERGENCES[self.divergence]
        farthest, scores = torch.full_like(last[..., :1], -torch.inf), last
        # One layer at a time: all of them at once would have as many times the logits.
        for layer in self.layers:
            early = unembed(kept_states(found[layer], inputs)).float().log_softmax(dim=-1).to(last.device)
            distance = diverges(last, early)[..., None]
            scores = torch.where(distance > farthest, last - early, scores)
            farthest = farthest.maximum(distance)
        return scores

    def _without_unlikely(self, scores: Tensor, logits: Tensor, generates: bool) -> Tensor:
        top = GENERATION_TOP if generates and self.relative_top is None else self.relative_top
        if not top:
            return scores
        return scores.masked_fill(logits < logits.amax(dim=-1, keepdim=True) + math.log(top), FILTERED)

    def settings(self) -> dict[str, Any]:
        """Return the layers, and how they are compared."""
        return {"layers": self.layers, "divergence": self.divergence, "relative_top": self.relative_top}

    @classmethod
    def restore(cls, lm: Decoder, settings: dict[str, Any], tensors: dict[str, Tensor]) -> "LayerContrast":
        """Make it again, refusing layers that the model does not have."""
        is_by_use = isinstance(settings, dict) and settings.get("relative_top", 0.0) is None
        stated = {**settings, "relative_top": 0.0} if is_by_use else settings
        require_settings(stated, layers=list, divergence=str, relative_top=float)
        require_layers(settings["layers"], lm.geometry.num_layers)
        require_tensors(tensors, {})
        _unembedding(lm)
        return cls(**settings)


def _unembedding(lm: Decoder) -> Callable[[Tensor], Tensor]:
    """Return what makes logits of a hidden state, without the last norm.

    Raises:
        UserError: the model has no output embeddings that take hidden states as its layers have them, or does more.
    """
    head, tail = lm.model.get_output_embeddings(), lm.tail or if_possible(lambda: choose_tail(lm))
    if head is None or tail is None or head.weight.shape[-1] != lm.hidden_size:
        raise UserError(
            f"method=dola reads inner layers with the output embeddings, and model '{lm.id}' does more than these for "
            "its logits; choose another model or another method"
        )
    return lambda hidden: tail.bend(head(hidden.to(head.weight.device)))
