"""RepE's contrast vector: what two opposite instructions make of the same input is added to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from lofit_cli.errors import UserError
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.interventions.saved import require_layer, require_settings, require_tensors
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.hooks import hooked_call, hooked_layer
from lofit_cli.models.twins import Twin, num_positions


class ContrastEdit(Intervention):
    """The map `h <- h + alpha * (h_positive - h_negative)` after one layer, at the tokens that predict an answer.

    `h_positive` and `h_negative` are the same tokens' hidden states where an instruction stands before everything, so
    each forward pass costs three. Nothing is learnt. Where texts begin with a BOS token, the instruction does and the
    prompt behind it does again; the authors' prompts have it once.

    Source: RepE (arXiv 2310.01405), section 3.2 and its TruthfulQA notebook.
    """

    kind = "contrast_edit"
    runs_beside = True
    edits_parts = True

    def __init__(self, positive: str, negative: str, alpha: float, layer: int) -> None:
        super().__init__()
        self.positive, self.negative, self.alpha, self.layer = positive, negative, alpha, layer

    @contextmanager
    def attach(self, lm: Decoder) -> Iterator[None]:
        """Run both instructed twins before every forward pass and add their difference in it."""
        refuse_chat(lm)
        twins = [Twin(lm, text.tokens) for text in lm.encode([self.positive, self.negative])]
        hidden: dict[Twin, Tensor] = {}
        running: list[Twin] = []

        def before(inputs: dict[str, Any]) -> None:
            if running:
                return
            where = lm.token_positions.read()
            for twin in twins:
                _refuse_window(lm, num_positions(inputs) + twin.length)
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


def _refuse_window(lm: Decoder, num_tokens: int) -> None:
    """Refuse to show an instruction to a token that the model's own attention window keeps from it."""
    window = getattr(lm.model.config.get_text_config(decoder=True), "sliding_window", None)
    if window and num_tokens >= window:
        raise UserError(
            f"method.vector=contrast has to look back {num_tokens} tokens and model '{lm.id}' has an attention window "
            f"of {window}; use method.vector=reading"
        )
