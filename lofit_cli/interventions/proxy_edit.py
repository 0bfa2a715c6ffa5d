"""Proxy-tuning: what an edit does to a small model's logits is done to those of a large one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from torch import Tensor
from torch.nn.functional import pad

from lofit_cli.errors import UserError
from lofit_cli.interventions.intervention import Intervention, class_of
from lofit_cli.interventions.saved import require_settings
from lofit_cli.models.attention_masks import attention_kinds, reached_windows
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.hooks import hooked_call
from lofit_cli.models.kept_logits import Inputs
from lofit_cli.models.rescoring import rescored
from lofit_cli.models.twins import Twin, num_positions
from lofit_cli.models.weights import describe_model, tokenizer_hash
from lofit_cli.prompts import NOTHING
from lofit_cli.schema.sources import ModelConfig

EXPERT = "expert."
"""Before the names of the expert's own tensors."""


class ProxyEdit(Intervention):
    """The map `s <- s + alpha * (s_expert - s_plain)` on logits: the expert is a proxy with an edit, plain one without.

    The proxy is another model with the same tokens, or the model itself. Nothing is learnt. A forward pass costs two of
    the proxy besides, or one where the model is its own proxy.

    Attributes:
        proxy: the model that is edited; None for the model that this is attached to.
        model: the settings that it is loaded by.

    Source: Liu et al. 2024 (arXiv 2401.08565), equation 1.
    """

    kind = "proxy_edit"
    runs_beside = True

    def __init__(self, expert: Intervention, proxy: Decoder | None, model: ModelConfig, alpha: float) -> None:
        super().__init__()
        self.expert, self.proxy, self.model, self.alpha = expert, proxy, model, alpha

    def placed(self, lm: Decoder) -> "ProxyEdit":
        """Return itself, the expert's numbers where the proxy takes its inputs."""
        self.expert.placed(self.proxy or lm)
        return self

    @contextmanager
    def attach(self, lm: Decoder) -> Iterator[None]:
        """Run the proxy with and without its edit before every forward pass, and add the difference of the logits."""
        proxy = self.proxy or lm
        require_proxy(lm, proxy)
        expert, plain = Twin(proxy), Twin(proxy)
        found: dict[str, Tensor] = {}
        running: list[bool] = []

        def before(inputs: Inputs) -> None:
            if running:
                return
            where = lm.token_positions.read()
            _refuse_windows(lm, proxy, num_positions(inputs))
            running.append(True)
            try:
                with self.expert.attach(proxy):
                    found["expert"] = expert.run(inputs, where, with_logits=True)
                if proxy is not lm:
                    found["plain"] = plain.run(inputs, where, with_logits=True)
            finally:
                running.pop()

        def rescore(logits: Tensor, inputs: Inputs) -> Tensor:
            if running:
                return logits
            own = logits.float()
            towards, away = (found.get(name, logits)[..., : own.shape[-1]].to(own) for name in ("expert", "plain"))
            # Models of one family pad their vocabularies to different sizes; what a proxy lacks is no token.
            return own + pad(self.alpha * (towards - away), (0, own.shape[-1] - towards.shape[-1]))

        with hooked_call(lm.model, before), rescored(lm, rescore):
            yield

    def settings(self) -> dict[str, Any]:
        """Return the strength, the proxy's settings, and what the expert is."""
        expert = {"class": self.expert.kind, "settings": self.expert.settings()}
        own = describe_model(self.proxy)["model_hash"] if self.proxy else ""
        return {"alpha": self.alpha, "model": asdict(self.model), "model_hash": own, "expert": expert}

    def tensors(self) -> dict[str, Tensor]:
        """Return the expert's tensors."""
        return {f"{EXPERT}{name}": value for name, value in self.expert.tensors().items()}

    @classmethod
    def restore(cls, lm: Decoder, settings: dict[str, Any], tensors: dict[str, Tensor]) -> "ProxyEdit":
        """Make it again: load the proxy, refusing one with other weights, and its edit.

        Raises:
            UserError: also where the proxy is not there any more.
        """
        require_settings(settings, alpha=float, model=dict, model_hash=str, expert=dict)
        model, made = _model_config(settings["model"]), settings["expert"]
        proxy = lm.open_other(model) if settings["model_hash"] else None
        if proxy and describe_model(proxy)["model_hash"] != settings["model_hash"]:
            raise UserError(f"its proxy model '{model.id}' has other weights than when it was made; make it again")
        if made.get("class") == cls.kind:
            raise UserError("its expert is a proxy itself, and must be an edit of the proxy model")
        own = {name.removeprefix(EXPERT): value for name, value in tensors.items()}
        expert = class_of(made.get("class")).restore(proxy or lm, made.get("settings"), own)
        if reason := why_no_expert(expert, proxy or lm):
            raise UserError(f"its expert {reason}, and must be an edit of the proxy model")
        return cls(expert, proxy, model, settings["alpha"])


def _model_config(settings: dict[str, Any]) -> ModelConfig:
    try:
        model = ModelConfig(**settings)
        is_told = settings == asdict(model) and isinstance(model.id, str)
        is_told = is_told and all(isinstance(value, str | int | None) for value in settings.values())
    except (TypeError, UserError):
        is_told = False
    if not is_told:
        raise UserError(f"its setting model is {str(settings)[:60]}, and must be settings of a model")
    return model


def why_no_expert(expert: Intervention, proxy: Decoder) -> str | None:
    """Return what keeps an edit from acting through the logits of the model it was made for; None if nothing does."""
    if expert.runs_beside:
        return "has forward passes of its own beside the model's"
    before = len(proxy.beginnings)
    with expert.attach(proxy):
        begins, has_scores = len(proxy.beginnings) > before, any(proxy.rescorings)
    # The texts are laid out for the model that is asked, which knows nothing of what should stand before them.
    if begins or expert.demonstrations != NOTHING:
        return "stands before every text"
    return "makes scores of its own, which are no logits" if has_scores else None


def require_proxy(lm: Decoder, proxy: Decoder) -> None:
    """Refuse a proxy whose logits are not of the same tokens, or whose forward passes can't be the model's.

    Raises:
        UserError: says which.
    """
    differences = {
        "another tokenizer": tokenizer_hash(lm.tokenizer) != tokenizer_hash(proxy.tokenizer),
        "texts that begin with other tokens": lm.first_tokens != proxy.first_tokens,
    }
    for what, is_so in differences.items():
        if is_so:
            raise UserError(
                f"method.source names a run of model '{proxy.id}', which has {what} than '{lm.id}'; name a run of a "
                "model of the same family"
            )
    if lm.batching == "packed" and proxy.batching != "packed":
        raise UserError(
            f"method.source names a run of model '{proxy.id}', which takes no packed rows as '{lm.id}' does; name a "
            "run of another model"
        )


def _refuse_windows(lm: Decoder, proxy: Decoder, num_tokens: int) -> None:
    """Refuse texts that one of both models looks back on through a window of its own: the passes share a mask.

    Where all layers have one window their mask is for any layer, also for one that another model has without a window.
    """
    configs = [m.model.config.get_text_config(decoder=True) for m in (lm, proxy)]
    here, there = (reached_windows(config, num_tokens) for config in configs)
    kinds_here, kinds_there = map(attention_kinds, configs)
    if here != there or (here and kinds_here != kinds_there):
        raise UserError(
            f"models '{lm.id}' and '{proxy.id}' look back {num_tokens} tokens through different attention windows; "
            "choose method.source of another model, or shorter prompts"
        )
